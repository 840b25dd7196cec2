"""Coders that bisect the prior's cumulative distribution function."""
