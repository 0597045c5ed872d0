"""The only package that knows Hydra: search path, compose, build, launch, and all config errors at once."""

from tflite_recipes.config.composition.compose import Prepared, build, complete, compose, opened, prepare
from tflite_recipes.config.composition.launch import Job, launch
from tflite_recipes.config.composition.overrides import key_of

__all__ = ["Job", "Prepared", "build", "complete", "compose", "key_of", "launch", "opened", "prepare"]
