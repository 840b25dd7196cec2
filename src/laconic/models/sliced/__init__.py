"""The sliced ladder: the embedded model of photographs."""
