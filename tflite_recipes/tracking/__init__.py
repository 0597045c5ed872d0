"""The only package that knows MLflow. It listens to events."""

import os

# MLflow decides on its telemetry while it is imported, and nothing imports it before this package.
os.environ["MLFLOW_DISABLE_TELEMETRY"] = "true"
os.environ["DO_NOT_TRACK"] = "true"
