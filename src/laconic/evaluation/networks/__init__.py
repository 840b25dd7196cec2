"""What compression does to networks."""
