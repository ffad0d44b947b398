"""The one door to backend-specific ops: each job takes its backend's fastest kernel."""

from models.kernels.bias import add_bias as add_bias
from models.kernels.convolution import conv as conv
from models.kernels.depthwise import depthwise_conv as depthwise_conv
from models.kernels.local import local_conv as local_conv
from models.kernels.normalization import batch_norm_inference as batch_norm_inference
from models.kernels.normalization import batch_norm_training as batch_norm_training
from models.kernels.pooling import pool as pool
from models.kernels.pooling import stepped as stepped
from models.kernels.transposition import conv_transpose as conv_transpose
