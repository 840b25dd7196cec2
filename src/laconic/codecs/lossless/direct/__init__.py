"""Pictures without a model: methods that code one picture by itself, and the choice among them.

A method takes samples `(height, width, channels)`, alpha last, and gives bytes. Its number is
written into files (docs/format.md, "Without a model"); 0 is the model of the file.
"""

from typing import Final

from laconic.codecs.lossless.direct.base import MODEL, DirectMethod
from laconic.codecs.lossless.direct.contexts import Contexts
from laconic.codecs.lossless.direct.conversion import Conversion, Known, find_conversion
from laconic.codecs.lossless.direct.levels import Levels
from laconic.codecs.lossless.direct.plain import Plain
from laconic.codecs.lossless.direct.png import Png
from laconic.codecs.lossless.direct.predicted import Predicted
from laconic.codecs.lossless.direct.squares import Squares
from laconic.codecs.lossless.direct.webp import WebP

METHODS: Final[dict[int, DirectMethod]] = {
    method.number: method
    for method in (
        Plain(),
        WebP(),
        Png(),
        Contexts(),
        Predicted(),
        Levels(),
        Squares(),
        Conversion(),
    )
}
"""Methods by the number that files carry."""

__all__ = ["METHODS", "MODEL", "Conversion", "DirectMethod", "Known", "find_conversion"]
