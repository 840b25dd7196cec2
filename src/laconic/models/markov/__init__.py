"""A ladder of latents with inference from below, for Bit-Swap, in floats and in integers."""
