"""`python -m tflite_recipes` does what the command `tflite-recipes` does."""

from tflite_recipes.cli.entry import main

if __name__ == "__main__":
    main()
