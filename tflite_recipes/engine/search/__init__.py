"""A search for the best file that passes all gates: each candidate a recipe run of its own."""

from tflite_recipes.engine.search.candidates import Candidate, recipe_of
from tflite_recipes.engine.search.search_loop import Follower, asked_of, rehearsed, search

__all__ = ["Candidate", "Follower", "asked_of", "recipe_of", "rehearsed", "search"]
