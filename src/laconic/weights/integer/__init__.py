"""Networks with integer weights and activations, and their bit operations."""
