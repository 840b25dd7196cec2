"""From pruned groups to a smaller network: traces, channels, operations."""
