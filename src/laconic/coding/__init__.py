"""Entropy coders and relative entropy coders; no neural networks."""
