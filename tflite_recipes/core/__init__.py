"""What every room may import: errors, events, state, schema, results."""
