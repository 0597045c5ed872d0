"""Rewrites a traced function op by op: loops unrolled, ops that the runtime lacks replaced by ones that it has."""

from tflite_recipes.backend.rewriting.rewriter import Rewritten, rewrite
from tflite_recipes.backend.rewriting.values import Unrollable

__all__ = ["Rewritten", "Unrollable", "rewrite"]
