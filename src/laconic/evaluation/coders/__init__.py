"""Relative entropy coders: rate, bias and speed."""
