"""Weighted least squares and context mixing: the coder of photographs of 8 bits."""
