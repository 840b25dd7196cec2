"""Bits-back coding of lattice latents, for one-level models with any posterior and marginal."""
