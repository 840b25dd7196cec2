"""Distributions become bits, and bits become draws; no neural networks here."""
