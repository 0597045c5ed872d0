"""What accelerators take of a file: rules by op, stated by their makers, judged on the file alone. No TensorFlow."""
