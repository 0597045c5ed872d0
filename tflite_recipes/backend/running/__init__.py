"""Run `.tflite` files, and compare their outputs and tensors with the source's."""
