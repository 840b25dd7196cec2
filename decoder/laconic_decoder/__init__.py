"""A second decoder of .lac files (docs/format.md); it needs numpy and Pillow alone."""

__version__ = "0.1.0"
