"""Commands of imaging: simulate, reconstruct, fsc."""
