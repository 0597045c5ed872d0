"""One file a group; each step a frozen dataclass that is its own schema. No TensorFlow at module top."""
