"""The range coder: bits are read in the order in which they were written."""
