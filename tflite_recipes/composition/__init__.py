"""The only package that knows Hydra: search path, compose, build, launch, and all config errors at once."""

from tflite_recipes.composition.composing import Prepared, build, complete, compose, opened, prepare
from tflite_recipes.composition.launching import Job, launch

__all__ = ["Job", "Prepared", "build", "complete", "compose", "launch", "opened", "prepare"]
