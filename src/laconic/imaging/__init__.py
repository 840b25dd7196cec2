"""Volumes from projections: projection operators and posteriors of volumes.

Conventions, everywhere in this package:

- A volume is a real tensor with axes (z, y, x), an image one with axes (y, x). Boxes are cubes and
  squares. The origin is voxel `size // 2` of each axis, for even and for odd sizes.
- A rotation is a matrix that maps coordinates (x, y, z) of the volume to those of the image: its
  first two rows are the image's axes, its third row is the direction of the beam. RELION's angles
  (rot, tilt, psi) describe it by passive, intrinsic zyz rotations (`rotations.from_angles`).
- A shift (x, y) in pixels says where the particle's origin lies in the image, from the image's own
  origin. RELION's `rlnOriginXAngst` has the opposite sign: it moves the particle to the origin.
- Density is positive: particles are white in images. Files with black particles are inverted when
  they are read.

Source: Ullrich, chapter 5.
"""
