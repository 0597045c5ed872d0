"""Train models: pruning and fine-tuning."""

from tflite_recipes.core import old_names

# A module of this name stood here once, and the code that past runs kept may import it.
old_names.offer(__name__)
