"""What runs after export: the bundle, devices, servers. Never imports TensorFlow by itself."""
