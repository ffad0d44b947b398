"""Data, training, export and proof: from a recipe to a bundle that may ship."""

import os

# TensorFlow leaves its oneDNN kernels out on x86 processors without integer instructions for
# networks, where they train twice as fast. It reads this when it is imported.
os.environ.setdefault("TF_ENABLE_ONEDNN_OPTS", "1")
