"""Networks whose weights and activations are integers."""
