"""Files read without TensorFlow: models, samples, `.tflite`."""
