"""Codecs to compare with: classical ones through Pillow, and published curves."""
