"""The only package that knows MLflow. It listens to events."""
