"""Run recipes: the loop over steps, its attempts, the spool and the worker process."""
