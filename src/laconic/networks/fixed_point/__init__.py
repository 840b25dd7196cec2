"""Networks in integers: the same output bits on every machine."""
