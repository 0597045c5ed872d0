"""Convert a frozen SavedModel to a `.tflite`, and quantize it."""
