"""What a developer needs to put a file into an application or a firmware."""
