"""How good a file is: metrics, parity, labels, errors by tensor."""
