"""Codecs of whole tensors: codebooks, bit planes, and matrices of small integers."""
