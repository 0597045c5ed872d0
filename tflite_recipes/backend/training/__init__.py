"""Train models: pruning and fine-tuning."""
