"""TensorFlow Lite Micro: its kernels and the size of their code, as tables."""
