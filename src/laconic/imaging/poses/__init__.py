"""Unknown poses: a search on a grid of rotations and shifts, refined band by band.

Images and slices are compared at the samples of a half plane within a band, as flat lists: their
log-likelihood is a matrix product. The search keeps the poses that a bound does not exclude, halves
the grid's spacing while it doubles the band, and ends with Newton steps.

Source: Ullrich 5.5 (equation 5.16, the poses' part) and 5.6, which finds that gradients alone fail.
"""
