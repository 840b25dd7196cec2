"""Relative entropy coders: one file each, one table."""
