"""File sizes of lossless codecs on sets of pictures: ours, PNG, WebP and JPEG XL."""

import io
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from laconic.codecs.lossless.codec import LosslessCodec
from laconic.codecs.lossless.file import LosslessFile
from laconic.data.plugins import load_plugin
from laconic.errors import CodingError

Picture = NDArray[np.uint8]
"""`(h, w)` or `(h, w, 3)`."""

CLASSICAL: Final[dict[str, dict[str, Any]]] = {
    "png": {"format": "PNG", "optimize": True},
    "webp": {"format": "WEBP", "lossless": True, "quality": 100, "method": 6},
    "jxl": {"format": "JXL", "lossless": True, "effort": 9},
}
"""The arguments of Pillow's `save`: each format's best practical setting."""


@dataclass(frozen=True)
class SetResult:
    """One of our models on a set, encoded as one archive.

    Attributes:
        file_bytes: size of the complete archive.
        ideal_bytes: negative ELBO, estimated at the encoded latents.
        net_bytes: growth of the stacks and the queue: the archive with its initial bits, without
            names, header and rounding to bytes.
        bits_per_sample: bits of the archive per sample.
        overhead_percent: size of the archive over the negative ELBO.
        single_bits_per_sample: mean over files of one picture each; None if not measured.
        single_payload_bits_per_sample: the same without header and checksums.
        encode_mb_per_s: raw samples per second.
        decode_mb_per_s: raw samples per second.
    """

    file_bytes: int
    ideal_bytes: float
    net_bytes: float
    bits_per_sample: float
    overhead_percent: float
    single_bits_per_sample: float | None
    single_payload_bits_per_sample: float | None
    encode_mb_per_s: float
    decode_mb_per_s: float


def classical_sizes(pictures: Sequence[Picture]) -> dict[str, list[int]]:
    """Bytes of every picture in every classical format, one file per picture."""
    load_plugin("jxl")
    return {name: [size(picture, name) for picture in pictures] for name in CLASSICAL}


def size(picture: Picture, name: str) -> int:
    """Bytes of a picture in a classical format."""
    buffer = io.BytesIO()
    Image.fromarray(picture).save(buffer, **CLASSICAL[name])
    return len(buffer.getvalue())


def contact_sheet(pictures: Sequence[Picture], columns: int) -> Picture:
    """Pictures of equal size side by side in one: for classical codecs, one file for the set."""
    rows = [np.hstack(pictures[k : k + columns]) for k in range(0, len(pictures), columns)]
    return np.vstack([row for row in rows if row.shape == rows[0].shape])


def measure_set(pictures: Sequence[Picture], codec: LosslessCodec, singles: int = 0) -> SetResult:
    """Write an archive, read it back, and compare every sample.

    Args:
        pictures: the set.
        codec: the codec with the model to measure.
        singles: number of pictures, spread evenly, that are also written as single files.

    Raises:
        CodingError: a picture came back changed.
    """
    samples = sum(picture.size for picture in pictures)
    sources = [(f"{k:05d}.png", partial(_itself, picture)) for k, picture in enumerate(pictures)]
    data, encode_seconds = timed(lambda: codec.archive(sources))
    back, decode_seconds = timed(
        lambda: {n: np.asarray(image) for n, image in codec.unarchive(LosslessFile.read(data))}
    )
    # The file groups pictures by kind, so grey ones may have changed places.
    check_equal(pictures, [back[name] for name, _ in sources])
    info = LosslessFile.read(data).describe()
    chosen = pictures[:: max(1, len(pictures) // singles)][:singles] if singles else []
    files = [codec.encode(picture) for picture in chosen]
    alone = sum(picture.size for picture in chosen)
    alone_infos = [LosslessFile.read(file).describe() for file in files]
    payload = sum(one.start_bits + one.chain_bits for one in alone_infos)
    return SetResult(
        file_bytes=len(data),
        ideal_bytes=info.ideal_bits / 8,
        net_bytes=info.theory_bits / 8,
        bits_per_sample=8 * len(data) / samples,
        overhead_percent=100 * (8 * len(data) / info.ideal_bits - 1),
        single_bits_per_sample=8 * sum(map(len, files)) / alone if chosen else None,
        single_payload_bits_per_sample=payload / alone if chosen else None,
        encode_mb_per_s=samples / 1e6 / encode_seconds,
        decode_mb_per_s=samples / 1e6 / decode_seconds,
    )


def _itself(picture: Picture) -> Picture:
    return picture


def check_equal(pictures: Sequence[Picture], back: Sequence[NDArray[Any]]) -> None:
    """Raise `CodingError` unless all samples are equal."""
    if len(pictures) != len(back) or not all(map(np.array_equal, pictures, back)):
        raise CodingError("a picture came back changed: this must never happen, please report it")


def timed(work: Callable[[], Any]) -> tuple[Any, float]:
    """The result of `work`, and its run time in seconds."""
    started = time.perf_counter()
    result = work()
    return result, time.perf_counter() - started
