"""Many pictures on one stack of bits: bits-back coding with feedback."""
