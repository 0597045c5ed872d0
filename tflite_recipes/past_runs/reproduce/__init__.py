"""A past run made again, from what its server has of it, and a verdict on the new file."""

from tflite_recipes.past_runs.reproduce.rebuild import Reproduction, reproduce

__all__ = ["Reproduction", "reproduce"]
