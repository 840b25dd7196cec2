"""Coders that search candidates for a block of dimensions."""
