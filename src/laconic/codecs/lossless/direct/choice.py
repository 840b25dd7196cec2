"""Which method takes the fewest bytes for a picture, and whether the model is worth its time.

| effort | the model | methods without it |
|---|---|---|
| 0 | never | plain, WebP and PNG at their fastest |
| 1 to 3 | never | all |
| 4 to 6 | for photographs up to `LEARNED` pixels, or of 1 or 16 bits | all for drawings; for
photographs plain, WebP at its fastest and least squares, and PNG and WebP in full only where the
model or least squares takes more than `CLOSE` of that |
| 7, 8 | always, but for noise | all |
| 9 | always | all, WebP at its slowest |

Pictures of at most `SMALL` pixels are always given to all. The smallest file is taken. Least
squares is tried on all but crisp drawings and noise: it learns from the picture itself, and is
smaller than the model on most photographs that are large.

Colour of 16 bits, and grey of 16 bits with alpha, have methods of their own: plain,
prediction, levels where they save bytes, and PNG where its fastest setting takes few bytes; at
effort 0 plain and PNG at its fastest.
"""

from dataclasses import dataclass
from typing import Final, TypeAlias, cast

import numpy as np
from numpy.typing import NDArray

from laconic.codecs.lossless.core import Samples
from laconic.codecs.lossless.direct.base import MODEL, SMALL, THOROUGH, DirectMethod
from laconic.codecs.lossless.direct.contexts import Contexts
from laconic.codecs.lossless.direct.conversion import Conversion, find_conversion
from laconic.codecs.lossless.direct.levels import Levels, choose_levels
from laconic.codecs.lossless.direct.plain import Plain
from laconic.codecs.lossless.direct.png import Png
from laconic.codecs.lossless.direct.predicted import Predicted
from laconic.codecs.lossless.direct.sketch import Sketch
from laconic.codecs.lossless.direct.squares import Squares
from laconic.codecs.lossless.direct.webp import WebP
from laconic.codecs.lossless.grid import plan_direct
from laconic.errors import InputError

EFFORT: Final = 5
"""The default."""
MAX_EFFORT: Final = 9
WITH_MODEL: Final = 4
FULL: Final = 9
CLOSE: Final = 0.9
"""WebP at its default takes more than this share of what it takes at its fastest on photographs."""
CLEAR: Final = 0.7
"""Of the residual bits: a drawing that takes less is not given to the model."""
CRISP: Final = 0.35
"""Of the residual bits: a drawing that takes less is not given to least squares either."""
REPETITIVE: Final = 1.25
"""PNG at its fastest takes more than this times what it takes at its best on few pictures."""
LEARNED: Final = 1 << 17
"""From so many pixels on, least squares has learned more than the model knows about most."""
FEW_BYTES: Final = 64
"""Nor is a picture that takes no more bytes than this."""

Coded: TypeAlias = tuple[int, tuple[bytes, ...]]
"""Number of a method, and what it gives for each tile."""
_FAST: Final[tuple[DirectMethod, ...]] = (Plain(), WebP())
_CLASSICAL: Final[tuple[DirectMethod, ...]] = (*_FAST, Png())
_ALL: Final[tuple[DirectMethod, ...]] = (*_CLASSICAL, Contexts())


@dataclass(frozen=True)
class Direct:
    """A picture coded without the model.

    Attributes:
        method: number of the method.
        parts: its bytes, of each tile of `plan_direct`.
        complete: whether all methods have been tried.
        try_model: whether the model may take fewer bytes.
    """

    method: int
    parts: tuple[bytes, ...]
    complete: bool
    try_model: bool

    @property
    def size(self) -> int:
        """Bytes."""
        return sum(map(len, self.parts))

    @property
    def least_bytes(self) -> float:
        """What methods without the model take at least."""
        return self.size * (1.0 if self.complete else CLOSE)


def check_effort(effort: int) -> int:
    """The effort; raises `InputError` unless it is 0 to 9."""
    if not 0 <= effort <= MAX_EFFORT:
        raise InputError(f"effort is {effort}, give an integer from 0 (fastest) to 9 (smallest)")
    return effort


def choose(samples: Samples, effort: int = EFFORT) -> Direct:
    """The best of the methods that this effort tries for a picture.

    Args:
        samples: `(height, width, channels)`, bool, uint8 or uint16, alpha last.
        effort: 0 to 9, see the table above.
    """
    if samples.dtype == np.uint16 and samples.shape[2] > 1:
        return _choose_deep(cast(NDArray[np.uint16], samples), effort)
    sketch = Sketch.of(samples)
    small = samples.shape[0] * samples.shape[1] <= SMALL
    without_model = 1 <= effort < WITH_MODEL
    thorough = small or sketch.drawn or without_model or effort >= THOROUGH
    methods = _CLASSICAL if effort == 0 else _ALL if thorough else _FAST
    first = _smallest(methods, samples, effort if thorough else 0)
    size = sum(map(len, first[1]))
    share = 8 * size / max(sketch.residual_bits, 1.0) if size > FEW_BYTES else 0.0
    if _may_be_photograph(effort, sketch, share):
        return _choose_photograph(samples, effort, first, thorough, share <= CLEAR)
    if thorough or effort == 0 or first[0] == Plain.number:
        return Direct(*first, complete=True, try_model=False)
    return complete(samples, effort)  # Noise that repeats itself, for instance.


def _may_be_photograph(effort: int, sketch: Sketch, share: float) -> bool:
    """Whether least squares is tried; `share`: of the residual bits that other methods take."""
    if effort in (0, FULL):
        return effort == FULL
    return not sketch.noisy and (share > CRISP or effort >= THOROUGH)


def _choose_photograph(
    samples: Samples, effort: int, first: Coded, thorough: bool, clear: bool
) -> Direct:
    """Least squares or the best of the first methods, for what is no crisp drawing.

    Args:
        samples: the picture.
        effort: 1 to 9.
        first: the best of the methods that were tried.
        thorough: whether these were all, in full.
        clear: whether they take few bytes, as for drawings.
    """
    own, squares = _encode_squares(samples, effort)
    size, least = (sum(map(len, parts)) for parts in (first[1], squares))
    found = (own, squares) if squares and least < size else first
    large = samples.shape[0] * samples.shape[1] >= LEARNED
    learned = bool(squares) and (large or own == Conversion.number)
    try_model = effort >= THOROUGH or (effort >= WITH_MODEL and not (learned or clear))
    if not (thorough or try_model) and (not squares or least >= CLOSE * size):
        full = complete(samples, effort)
        if full.size < sum(map(len, found[1])):
            found = full.method, full.parts
    return Direct(*found, complete=thorough or not try_model, try_model=try_model)


def _encode_squares(samples: Samples, effort: int) -> Coded:
    """Least squares, of luma and chroma where the colours were converted from them."""
    known = find_conversion(samples)
    coded: list[Coded] = []
    if known is not None:
        coded.append((Conversion.number, _encode(Conversion(known), samples, effort)))
    if effort >= THOROUGH or not any(parts for _, parts in coded):
        coded.append((Squares.number, _encode(Squares(), samples, effort)))
    coded = [one for one in coded if one[1]] or coded
    return min(coded, key=lambda one: sum(map(len, one[1])))


def _choose_deep(samples: NDArray[np.uint16], effort: int) -> Direct:
    """The same for several channels of 16 bits, which no model codes."""
    small = samples.shape[0] * samples.shape[1] <= SMALL
    thorough = small or effort >= THOROUGH
    methods: list[DirectMethod] = [Plain()]
    if effort > 0:
        has_levels = choose_levels(samples) is not None
        methods += [Levels()] * has_levels + [Predicted()] * (thorough or not has_levels)
    found = _smallest(tuple(methods), samples, effort)
    size = sum(map(len, found[1]))
    parts = _encode(Png(), samples, effort if thorough else 0)
    if effort > 0 and not thorough and sum(map(len, parts)) < REPETITIVE * size:
        parts = _encode(Png(), samples, effort)
    if parts and sum(map(len, parts)) < size:
        found = Png.number, parts
    return Direct(*found, complete=True, try_model=False)


def complete(samples: Samples, effort: int = EFFORT) -> Direct:
    """The best of WebP, PNG and plain samples for a picture that is no drawing."""
    method, parts = _smallest(_CLASSICAL, samples, effort)
    return Direct(method, parts, complete=True, try_model=False)


def _smallest(methods: tuple[DirectMethod, ...], samples: Samples, effort: int) -> Coded:
    """Number of the best method, and what it gives; `Plain` gives something for everything."""
    best: Coded = (MODEL, ())
    least = 0
    for method in methods:
        parts = _encode(method, samples, effort)
        size = sum(map(len, parts))
        if parts and (best[0] == MODEL or size < least):
            best, least = (method.number, parts), size
    return best


def _encode(method: DirectMethod, samples: Samples, effort: int) -> tuple[bytes, ...]:
    """The bytes of each tile; empty where the method cannot code one of them."""
    parts = []
    for tile in plan_direct(*samples.shape[:2]):
        part = samples[tile.top : tile.bottom, tile.left : tile.right]
        data = method.encode(cast(Samples, np.ascontiguousarray(part)), effort)
        if data is None:
            return ()
        parts.append(data)
    return tuple(parts)
