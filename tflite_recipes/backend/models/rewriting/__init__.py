"""Rewrites a traced function op by op: loops unrolled, ops that the runtime lacks replaced by ones that it has."""

from tflite_recipes.backend.models.rewriting.rewriter import Rewritten, rewrite
from tflite_recipes.backend.models.rewriting.walker import needed_ops

__all__ = ["Rewritten", "needed_ops", "rewrite"]
