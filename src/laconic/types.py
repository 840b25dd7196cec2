"""Shapes and types that several packages speak of.

Shapes are jaxtyping annotations: mypy reads them as `Tensor`, the tests check them at run time.
Within one signature `batch` means the same number everywhere; names that start with an underscore
are free.
"""

from typing import TypeAlias

import numpy as np
from jaxtyping import Float
from numpy.typing import NDArray
from torch import Tensor

Images: TypeAlias = Float[Tensor, "batch 3 _height _width"]
"""Colour images in [0, 1]."""

FeatureMap: TypeAlias = Float[Tensor, "batch _channels _height _width"]
"""What flows between convolutions, and latents."""

PerImage: TypeAlias = Float[Tensor, " batch"]
"""One number for each image of a batch, such as log beta."""

Embedding: TypeAlias = Float[Tensor, "batch _width"]
"""One vector for each image of a batch, such as the embedded log beta."""

Pixels: TypeAlias = NDArray[np.uint8]
"""One image as stored in a file: `(height, width, 3)`, 0 to 255."""
