"""The commands, a module for what belongs together; each adds its own to the parser. What is heavy is imported by the
command that needs it."""
