"""A volume's isosurface, drawn by casting rays: depth, normals, light. No graphics library."""

import numpy as np
from numpy.typing import NDArray

Image = NDArray[np.float32]

LIGHT = (-0.4, -0.5, 0.77)
"""Direction to the light: x, y, towards the viewer."""
AMBIENT = 0.25


def draw_surface(volume: NDArray[np.float32], level: float, scale: int = 2) -> Image:
    """The surface where the density reaches a level, as seen along the first axis.

    Each ray stops at the first voxel that reaches the level, and the crossing is interpolated. The
    normal is the density's gradient, the brightness its cosine with the light, less with depth.

    Args:
        volume: (depth, height, width).
        level: of the density.
        scale: pixels along a voxel.

    Returns:
        (scale * height, scale * width), in [0, 1]; 1 is background.
    """
    wide = _widen(_widen(volume, 1, scale), 2, scale)
    inside = wide >= level
    hit = inside.any(0)
    first = inside.argmax(0)
    rows, columns = np.indices(hit.shape)
    here, before = wide[first, rows, columns], wide[np.maximum(first - 1, 0), rows, columns]
    step = np.where(here > before, (here - level) / np.maximum(here - before, 1e-12), 0.0)
    depth = first - np.clip(step, 0, 1)
    slopes = np.stack([np.gradient(wide, axis=k) for k in range(3)], -1)[first, rows, columns]
    # Outwards, towards lower density: x, y, and towards the viewer.
    normal = -slopes[..., [2, 1, 0]] * np.array([scale, scale, -1.0])
    normal[..., 2] = np.abs(normal[..., 2])
    normal /= np.maximum(np.linalg.norm(normal, axis=-1, keepdims=True), 1e-12)
    shade = AMBIENT + (1 - AMBIENT) * np.clip(normal @ np.array(LIGHT), 0, 1)
    fog = 1 - 0.5 * depth / len(volume)
    shown: Image = np.where(hit, shade * fog, 1.0).astype(np.float32)
    return shown


def _widen(volume: NDArray[np.float32], axis: int, scale: int) -> NDArray[np.float32]:
    """Linear interpolation along an axis: `scale` samples for each voxel."""
    size = volume.shape[axis]
    places = np.clip((np.arange(size * scale) + 0.5) / scale - 0.5, 0, size - 1)
    low = np.floor(places).astype(np.int64)
    high = np.minimum(low + 1, size - 1)
    shape = [1] * volume.ndim
    shape[axis] = -1
    part = (places - low).reshape(shape).astype(np.float32)
    found: NDArray[np.float32] = (
        volume.take(low, axis) * (1 - part) + volume.take(high, axis) * part
    )
    return found
