"""Planes of 8 bits <-> bytes, by least squares and context mixing (see `kernels`)."""

from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import cache
from math import isqrt
from threading import Condition
from typing import Self

import numpy as np
from numpy.typing import NDArray

from laconic.coding.binary_arithmetic import IntArray, new_coder
from laconic.coding.context_mixing.kernels import LIMIT
from laconic.coding.context_mixing.pixels import logistic_tables
from laconic.coding.least_squares import kernels
from laconic.coding.least_squares.kernels import BORDER, Plane, code_rows
from laconic.coding.least_squares.systems import new_systems
from laconic.cores import allowed

Planes = NDArray[np.uint8]
"""Planes in coding order, `(planes, height, width)`."""

OWN = (
    (0, -1), (-1, 0), (-1, -1), (-1, 1), (0, -2), (-2, 0), (-2, 1), (-1, 2), (-1, -2), (-2, -1),
    (-2, 2), (-2, -2), (0, -3), (-3, 0), (-1, 3), (-1, -3), (-3, 1), (-3, -1), (0, -4), (-2, 3),
    (-2, -3),
)  # fmt: skip
"""Neighbours of the same plane, row and column from the sample, the most important first."""
AROUND = ((0, 0), (0, -1), (-1, 0), (0, 1), (1, 0), (-1, -1), (-1, 1), (1, -1), (1, 1))
"""Neighbours of a plane that was coded before."""
FEWER = 18
"""Neighbours of the same plane, where other planes help."""
CHUNK_ROWS = 8
"""Rows that a thread codes before it says so."""
_START_WEIGHT = 7864
_EVEN = 1 << 29
"""Of a table: probability one half, no observations."""
_SLACK_BYTES = 64
NOTHING: NDArray[np.float64] = np.empty((0, 0, 0))
"""In place of the bits of each sample, which then are not computed."""


def encode_planes(planes: Planes, differences: Sequence[bool]) -> list[bytes]:
    """Bytes of each plane; none for a plane whose samples are all equal.

    Args:
        planes: in coding order; the decoder knows first and largest sample of each.
        differences: of each plane, whether differences from the plane before are flatter than its
            samples; False for the first and the fourth.
    """
    samples = _pad(planes[:, 0, 0], planes.shape)
    samples[:, BORDER:-BORDER, BORDER:-BORDER] = planes
    limit = planes[0].size * 2 + _SLACK_BYTES
    buffers = [np.zeros(0 if _is_flat(one) else limit, np.uint8) for one in planes]
    largest = [int(one.max()) for one in planes]
    sizes = _code(samples, buffers, largest, differences, NOTHING)
    return [data[:size].tobytes() for data, size in zip(buffers, sizes, strict=True)]


def decode_planes(
    parts: Sequence[bytes],
    shape: tuple[int, int, int],
    first: Sequence[int],
    largest: Sequence[int],
    differences: Sequence[bool],
    spent: NDArray[np.float64] = NOTHING,
) -> Planes:
    """Decode planes; damaged bytes decode to wrong samples without an error.

    Args:
        parts: bytes of each plane.
        shape: planes, height and width.
        first: the first sample of each plane.
        largest: the largest one.
        differences: as for the encoder.
        spent: set to the bits of each sample, `(planes, height, width)`, unless it is empty.
    """
    samples = _pad(np.array(first), shape)
    buffers = [np.frombuffer(part, np.uint8).copy() for part in parts]
    _code(samples, buffers, largest, differences, spent, reading=True)
    if spent.size:
        for plane in spent.reshape(len(spent), -1):
            plane[1:] = np.diff(plane)
            plane[0] = 0.0
    return samples[:, BORDER:-BORDER, BORDER:-BORDER].astype(np.uint8)


def _is_flat(plane: NDArray[np.uint8]) -> bool:
    return bool((plane == plane[0, 0]).all())


def _pad(first: NDArray[np.integer], shape: tuple[int, ...]) -> NDArray[np.int32]:
    """Planes that have their first sample everywhere."""
    size = shape[0], shape[1] + 2 * BORDER, shape[2] + 2 * BORDER
    return np.broadcast_to(first[:, None, None].astype(np.int32), size).copy()


def _code(
    samples: NDArray[np.int32],
    buffers: Sequence[NDArray[np.uint8]],
    largest: Sequence[int],
    differences: Sequence[bool],
    spent: NDArray[np.float64],
    reading: bool = False,
) -> list[int]:
    """Code all planes, rows of several at once on as many threads as are allowed."""
    errors = np.zeros(samples.shape, np.int32)
    coded = [c for c, data in enumerate(buffers) if len(data)]
    planes = {
        c: _make_plane(c, samples.shape, buffers[c], largest[c], differences[c]) for c in coded
    }
    systems = {c: new_systems(planes[c].places.size, samples.shape[2] - 2 * BORDER) for c in coded}
    line, sizes = _Line(coded, samples.shape[1] - 2 * BORDER), [0] * len(buffers)

    def work() -> None:
        with line:
            while place := line.take():
                c = place[0]
                sizes[c] = code_rows(planes[c], systems[c], samples, errors, place, reading, spent)
                line.finish(place)

    helpers = min(allowed(), len(coded)) - 1
    if helpers < 1:
        work()
        return sizes
    with ThreadPoolExecutor(helpers) as pool:
        started = [pool.submit(work) for _ in range(helpers)]
        work()
    for one in started:
        one.result()
    return sizes


class _Line:
    """The rows that are still to be coded; a context, after whose end or error none are.

    Args:
        planes: their numbers.
        height: rows of each.
    """

    def __init__(self, planes: Sequence[int], height: int) -> None:
        self._height, self._done = height, dict.fromkeys(planes, 0)
        self._busy: set[int] = set()
        self._changed = Condition()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *error: object) -> None:
        with self._changed:
            self._done = {}
            self._changed.notify_all()

    def take(self) -> tuple[int, int, int] | None:
        """Plane, first row, and the row after the last, once some can be coded; None at the end."""
        with self._changed:
            while any(rows < self._height for rows in self._done.values()):
                ready = [c for c in self._done if self._is_ready(c)]
                if ready:
                    plane = min(ready, key=self._done.__getitem__)
                    self._busy.add(plane)
                    start = self._done[plane]
                    return plane, start, min(start + CHUNK_ROWS, self._height)
                self._changed.wait()
        return None

    def finish(self, place: tuple[int, int, int]) -> None:
        """Note that these rows are coded."""
        with self._changed:
            self._busy.remove(place[0])
            if self._done:
                self._done[place[0]] = place[2]
            self._changed.notify_all()

    def _is_ready(self, plane: int) -> bool:
        """Whether no thread codes it, and the planes before have the next row and its border.

        The border to the right of a row is set with the row after it.
        """
        rows = self._done[plane]
        needed = min(rows + CHUNK_ROWS + 2, self._height)
        before = (self._done.get(o, self._height) for o in planes_before(plane))
        free = plane not in self._busy and rows < self._height
        return free and all(done >= needed for done in before)


def planes_before(plane: int) -> tuple[int, ...]:
    """Planes that help to predict this one, the nearest first: none for the fourth."""
    return {1: (0,), 2: (1, 0)}.get(plane, ())


def taps(plane: int) -> list[tuple[int, int, int]]:
    """Part (0 for the same plane, else 1 + its place before), row and column, by importance."""
    own, before = [(0, *at) for at in OWN], planes_before(plane)
    if not before:
        return own
    near = [(1, *at) for at in AROUND]
    far = [(2, *at) for at in AROUND] if len(before) > 1 else []
    first = own[:2] + near[:1] + far[:1] + own[2:4] + near[1:5] + far[1:3]
    return first + own[4:8] + near[5:] + far[3:] + own[8:FEWER]


def _make_plane(
    c: int, shape: tuple[int, ...], data: NDArray[np.uint8], largest: int, differences: bool
) -> Plane:
    """The coder of a plane that has coded nothing."""
    count = kernels.PREDICTIONS
    vector = [np.zeros(count, np.int64) for _ in range(6)]
    weights = np.full((kernels.KINDS * kernels.GROUPS, kernels.INPUTS), _START_WEIGHT, np.int64)
    weights[:, -1] = 0
    before = (*planes_before(c), -1, -1)[:2]
    parts, rows, columns = np.array(taps(c), np.int64).T
    plane = np.array([c, *before])[parts]
    return Plane(
        places=(plane * shape[1] + rows) * shape[2] + columns,
        parts=parts.copy(),
        sums=np.zeros(3, np.int64),
        before=np.array(before, np.int64),
        setting=np.array([largest, differences], np.int64),
        guesses=vector[0],
        recent=np.zeros((count, 2, shape[2]), np.int64),
        means=np.tile(_first_means(), (count, 1)),
        seen=np.zeros((count, kernels.SCALES), np.int64),
        steps=vector[1],
        inverses=vector[2],
        lower=vector[3],
        upper=vector[4],
        middle=vector[5],
        contexts=np.zeros(kernels.TABLES, np.int64),
        tables=np.full((kernels.TABLES, max(kernels.CONTEXTS) * kernels.NODES), _EVEN, np.int32),
        weights=weights,
        trained=np.zeros(len(weights), np.int64),
        fixes=np.tile(_first_fixes(), (kernels.NODES * 4, 1)),
        inputs=np.zeros(kernels.INPUTS, np.int64),
        coder=new_coder(),
        data=data,
        maps=_maps(),
    )


def _first_means() -> IntArray:
    """Mean errors that are expected for each step before any was seen, in units of 2^-8."""
    octaves, parts = np.divmod(np.arange(kernels.SCALES, dtype=np.int64), 3)
    found: IntArray = 102 * (4 + parts + (parts > 1)) * (1 << octaves) // 4
    return found


def _first_fixes() -> IntArray:
    """Probabilities that correct nothing."""
    places = np.arange(kernels.FIXES) * 2 * LIMIT // (kernels.FIXES - 1)
    found: IntArray = logistic_tables()[0][places] * 16
    return found


@cache
def _maps() -> IntArray:
    """The constants `Plane.maps`."""
    squash, stretch = logistic_tables()
    rates = (1 << 17) // (2 * np.arange(kernels.RATES, dtype=np.int64) + 3)
    weight_rates = 3 + 1000 // (16 + np.arange(kernels.STEPS))
    return np.concatenate([squash, stretch, rates, weight_rates, student_law()])


@cache
def student_law() -> IntArray:
    """Student's distribution with two degrees of freedom, in units of 2^-30, by 64ths.

    `F(x) = 1/2 + x / (2 sqrt(2 + x^2))`, in integers.
    """
    unit = kernels.REACH // 12
    upper = [
        (1 << 29) + (x << 49) // isqrt((2 * unit * unit + x * x) << 40)
        for x in range(kernels.REACH + 1)
    ]
    lower = [(1 << 30) - value for value in reversed(upper[1:])]
    return np.array(lower + upper, np.int64)
