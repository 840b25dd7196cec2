"""Tensors to tensors: the layers that models are made of."""
