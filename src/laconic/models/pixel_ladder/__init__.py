"""Ladders for lossless coding of pictures, in floats and in integers."""
