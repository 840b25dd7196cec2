"""Probability distributions: densities, divergences and draws."""
