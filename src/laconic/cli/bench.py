"""`laconic bench`: how fast and how small, measured here and now."""

import io
import platform
import statistics
import time
from collections.abc import Callable
from enum import StrEnum
from functools import partial
from pathlib import Path
from typing import Annotated, Any

import typer

from laconic.cli.common import print_json
from laconic.errors import InputError


class Subject(StrEnum):
    """What can be measured."""

    REC = "rec"
    ENTROPY = "entropy"
    IMAGE = "image"
    NETWORK = "network"


def bench(
    subject: Annotated[Subject, typer.Argument(help="What to measure.")],
    out: Annotated[Path | None, typer.Option("--json", help="Write the results here.")] = None,
    repeats: Annotated[int, typer.Option(min=1, help="Runs; the median is told.")] = 3,
    threads: Annotated[int | None, typer.Option(min=1, help="Threads of the networks.")] = None,
) -> None:
    """Measure speed and size; prints one JSON object, or writes it where --json says."""
    if subject is Subject.IMAGE:
        results = _bench_image(repeats, threads)
    elif subject is Subject.ENTROPY:
        results = _bench_entropy(repeats)
    elif subject is Subject.REC:
        results = _bench_coders(repeats)
    else:
        raise InputError("bench network: there is no network codec yet")
    import torch

    results |= {
        "command": f"laconic bench {subject.value}",
        "machine": f"{platform.machine()}, {platform.system()}, torch {torch.__version__}",
        "threads": threads or torch.get_num_threads(),
        "repeats": repeats,
    }
    if out is None:
        print_json(results)
        return
    import json

    from laconic.container import write_atomically

    write_atomically(out, (json.dumps(results, indent=2) + "\n").encode())
    typer.echo(f"wrote {out}", err=True)


def _median_seconds(work: Callable[[], Any], repeats: int) -> float:
    """Median wall time after one run that pays for compilation and caches."""
    work()
    times = []
    for _ in range(repeats):
        start = time.perf_counter()
        work()
        times.append(time.perf_counter() - start)
    return statistics.median(times)


def _bench_image(repeats: int, threads: int | None) -> dict[str, Any]:
    """The embedded model on the sample image, to and fro, beside JPEG and WebP."""
    import laconic
    from laconic.cli.demo import load_sample

    image = load_sample()
    rows = []
    for quality in (10, 50, 90):
        data = laconic.compress(image, quality=quality, threads=threads)
        rows.append(
            {
                "quality": quality,
                "bytes": len(data),
                "bpp": 8 * len(data) / (image.width * image.height),
                "encode_seconds": _median_seconds(
                    partial(laconic.compress, image, quality=quality, threads=threads), repeats
                ),
                "decode_seconds": _median_seconds(
                    partial(laconic.decompress, data, threads=threads), repeats
                ),
            }
        )
    anchors = {
        f"{name.lower()}_encode_seconds": _median_seconds(partial(_save, image, name), repeats)
        for name in ("JPEG", "WEBP")
    }
    return {"width": image.width, "height": image.height, "points": rows} | anchors


def _save(image: Any, name: str) -> None:
    image.save(io.BytesIO(), name, quality=75)


def _bench_entropy(repeats: int) -> dict[str, Any]:
    """The range coder on a million symbols of an adaptive table."""
    import numpy as np

    from laconic.coding.random import SharedRandomness
    from laconic.coding.stream import AdaptiveModel, QueueDecoder, QueueEncoder

    words = SharedRandomness(0).bits(0, 1 << 20)
    symbols = np.bitwise_count(words & np.uint32(0xFF)).astype(np.int64)

    def encode() -> bytes:
        stream = QueueEncoder()
        stream.adaptive(symbols, AdaptiveModel(9))
        return stream.finish()

    data = encode()
    counts = np.bincount(symbols, minlength=9) / len(symbols)
    ideal = float(-(counts[counts > 0] * np.log2(counts[counts > 0])).sum() * len(symbols))
    return {
        "symbols": len(symbols),
        "file_bits": 8 * len(data),
        "entropy_bits": ideal,
        "encode_seconds": _median_seconds(encode, repeats),
        "decode_seconds": _median_seconds(
            lambda: QueueDecoder(data).adaptive(len(symbols), AdaptiveModel(9)), repeats
        ),
    }


def _bench_coders(repeats: int) -> dict[str, Any]:
    """Every relative entropy coder on one synthetic latent."""
    import torch
    from torch.distributions import Normal

    from laconic.coding.random import SharedRandomness
    from laconic.coding.relative_entropy import CODERS
    from laconic.coding.stream import QueueEncoder

    shape = (1, 64, 32, 48)
    noise = torch.from_numpy(SharedRandomness(1).normals(0, 64 * 32 * 48).copy()).reshape(shape)
    spread = torch.logspace(-1.5, 1, 64)[None, :, None, None].expand(shape).contiguous()
    weight = spread**2 / (spread**2 + 1)
    source = (spread**2 + 1).sqrt() * noise
    target = Normal(weight * source, weight.sqrt(), validate_args=False)
    prior = Normal(torch.zeros(shape), spread, validate_args=False)
    rows = {}
    for name, kind in CODERS.items():
        coder, shared = kind(), SharedRandomness(2)

        def encode(coder: Any = coder, shared: Any = shared) -> tuple[bytes, Any]:
            stream = QueueEncoder()
            _, receipt = coder.encode(target, prior, stream, shared)
            return stream.finish(), receipt

        data, receipt = encode()
        rows[name] = {
            "ideal_bits": receipt.ideal_bits,
            "theory_bits": receipt.theory_bits,
            "file_bits": 8 * len(data),
            "encode_seconds": _median_seconds(encode, repeats),
            "decode_seconds": _median_seconds(partial(_hear, coder, prior, data, shared), repeats),
        }
    return {"latents": noise.numel(), "coders": rows}


def _hear(coder: Any, prior: Any, data: bytes, shared: Any) -> Any:
    from laconic.coding.stream import QueueDecoder

    return coder.decode(prior, QueueDecoder(data), shared)
