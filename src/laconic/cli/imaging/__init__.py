"""Commands of imaging: simulate, reconstruct, refine, fsc; maps for compress and decompress."""
