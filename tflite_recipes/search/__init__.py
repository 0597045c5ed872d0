"""A search for the best file that passes all gates: each candidate a recipe run of its own."""

from tflite_recipes.search.candidates import Candidate, recipe_of
from tflite_recipes.search.searching import Follower, asked_of, rehearsed, search

__all__ = ["Candidate", "Follower", "asked_of", "recipe_of", "rehearsed", "search"]
