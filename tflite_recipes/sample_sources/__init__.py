"""Where samples come from: files and functions, read one sample at a time, with labels where there are some."""

from tflite_recipes.sample_sources.samples import Samples
from tflite_recipes.sample_sources.storing import read, store

__all__ = ["Samples", "read", "store"]
