"""What to do with runs that MLflow remembers."""
