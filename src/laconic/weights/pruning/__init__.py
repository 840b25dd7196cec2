"""From a network with zeros to a smaller dense one, and counts of what it computes."""
