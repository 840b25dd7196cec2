"""Distributions over functions, drawn and measured."""
