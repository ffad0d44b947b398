"""From a trained network to a bundle, and the proof of every file in it."""
