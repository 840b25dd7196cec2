"""Densities, divergences and draws."""
