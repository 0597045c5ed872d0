"""The commands, a module for what belongs together; each adds its own to the parser. What is heavy is imported by the
command that needs it."""

from tflite_recipes.core import old_names

# A module of this name stood here once, and the code that past runs kept may import it.
old_names.offer(__name__)
