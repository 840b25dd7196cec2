"""The dense one-level VAE, in floats and in integers."""
