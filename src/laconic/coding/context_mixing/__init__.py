"""Context mixing: the coder of pictures with few colours or flat areas."""
