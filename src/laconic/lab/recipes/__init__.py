"""Recipes: what is trained and measured, one file for each kind."""
