"""Where samples come from: files and functions, read one sample at a time, with labels where there are some."""

from tflite_recipes.files.samples.sample_source import Samples
from tflite_recipes.files.samples.sample_writer import read, store

__all__ = ["Samples", "read", "store"]
