"""Coders that quantise with shared dither."""
