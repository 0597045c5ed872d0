"""Compilers and interpreters of targets, run for a file: Vela, the Edge TPU's, tflite-micro."""
