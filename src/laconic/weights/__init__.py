"""Distributions over a network's weights, and what makes a network smaller."""
