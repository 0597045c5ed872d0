"""Files and overrides become a checked recipe."""
