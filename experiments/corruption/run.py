"""10,000 damaged .lac files: each must decode to what it was or raise a LaconicError.

    python experiments/corruption/run.py [--count 10000]

A worker process with a memory limit decodes; a watchdog here kills it when one file takes 10 s.
`--repair` recomputes the checksums after damaging, so that the parsers behind them are reached:
such a file is no accident but an attack, and may decode to another picture, never worse.
"""

import argparse
import itertools
import json
import multiprocessing
import platform
import resource
import subprocess
import time
import zlib
from collections import Counter
from multiprocessing.connection import Connection
from pathlib import Path

import numpy as np
import torch
from PIL import Image
from torch import nn

import laconic
from laconic.codecs.base import Decoding, open_file
from laconic.codecs.image.codec import ImageCodec
from laconic.codecs.image.file import ImageFile
from laconic.coding.relative_entropy import CODERS
from laconic.container.fields import FieldReader
from laconic.errors import LaconicError
from laconic.models.pyramid import Pyramid
from laconic.models.sliced.config import SlicedConfig
from laconic.models.sliced.ladder import SlicedLadder
from laconic.weights import convert

HERE = Path(__file__).parent
LIMIT_SECONDS = 10
LIMIT_BYTES = 2 << 30
MODELS = ("pyramid", "sliced")
KINDS = ("flip", "truncate", "splice", "overwrite")


def make_codec(model: str, coder: str) -> ImageCodec:
    """The ladder without weights, or a small sliced one, whose priors are integer networks."""
    if model == "pyramid":
        return ImageCodec(Pyramid(), model, b"pyramid!", coder, threads=1)
    torch.manual_seed(0)
    widths = {"fine_width": 8, "coarse_width": 8, "prior_width": 8}
    ladder = SlicedLadder(SlicedConfig(block=4, slices=(3, 9, 36), top=4, embedding=4, **widths))
    for parameter in ladder.parameters():
        parameter.data += 0.05 * torch.randn(parameter.shape)
    ladder.transform.variance.copy_(2.0 ** torch.linspace(1, -14, 48))
    return ImageCodec(ladder.requires_grad_(False), model, b"sliced!!", coder, threads=1)


def make_network() -> bytes:
    """A file of weights with every way of keeping a tensor."""
    torch.manual_seed(0)
    shared = torch.randn(30, 20)
    tensors = {"a": torch.randn(40, 50), "b": torch.randn(50), "c": shared, "d": shared.clone()}
    few = torch.tensor([0.0, 0.25, -1.5])[torch.randint(0, 3, (20, 30))]
    rest = {"e": torch.arange(90).reshape(9, 10), "f": few}
    return laconic.shrink({**tensors, **rest}, tolerance=0.05)


def make_drawn() -> bytes:
    """A file of weights that are encoded as draws."""
    torch.manual_seed(0)
    net = nn.Sequential(nn.Linear(20, 30), nn.ReLU(), nn.Linear(30, 10))
    convert(net, "miracle")
    return laconic.shrink(net)


def make_files() -> list[bytes]:
    """Small files over modes, coders and models, and two of weights."""
    files = [make_network(), make_drawn()]
    for index, (model, coder) in enumerate(itertools.product(MODELS, CODERS)):
        codec = make_codec(model, coder)
        for mode in ("RGB", "RGBA", "L") if model == "pyramid" else ("RGB",):
            rows, columns = np.mgrid[:40, : 48 + index] * 3
            image = Image.fromarray(np.stack([rows, columns, rows + columns], 2).astype(np.uint8))
            if mode == "RGBA":
                image.putalpha(Image.fromarray((rows * columns).astype(np.uint8)))
            files.append(codec.encode(image if mode != "L" else image.convert("L"), quality=40))
    return files


def damage(data: bytes, other: bytes, kind: str, generator: np.random.Generator) -> bytes:
    """One to four flips, a cut, a splice with another file, or a run of random bytes."""
    result = bytearray(data)
    place = int(generator.integers(len(data)))
    if kind == "flip":
        for _ in range(int(generator.integers(1, 5))):
            result[int(generator.integers(len(data)))] ^= 1 << int(generator.integers(8))
    elif kind == "truncate":
        del result[place:]
    elif kind == "splice":
        result[place:] = other[int(generator.integers(len(other))) :]
    else:
        length = min(int(generator.integers(1, 17)), len(data) - place)
        result[place : place + length] = generator.bytes(length)
    return bytes(result)


def repair(data: bytes) -> bytes:
    """Recompute every checksum as far as the table of sections can be read."""
    result = bytearray(data)
    reader = FieldReader(data)
    try:
        reader.raw(5)
        length = reader.integer(1 << 20)
        start = reader.position
        reader.raw(length)
        fields = FieldReader(data[start : reader.position])
        fields.word()
        fields.raw(fields.integer(1 << 20))
        position = reader.position + 4
        for _ in range(fields.integer(1 << 14)):
            fields.word()
            size = fields.integer(1 << 30)
            place = start + fields.position
            fields.raw(4)
            check = zlib.crc32(data[position : position + size])
            result[place : place + 4] = check.to_bytes(4, "little")
            position += size
        front = zlib.crc32(result[: reader.position]).to_bytes(4, "little")
        result[reader.position : reader.position + 4] = front
    except LaconicError:
        return data
    return bytes(result)


def decode(data: bytes, codecs: dict[str, ImageCodec]) -> bytes:
    """Pixels of an image, bytes of all tensors; a model that is not there is the first one."""
    file = open_file(data)
    if not isinstance(file, ImageFile):
        tensors = [tensor for _, tensor in file.decode(Decoding())]
        return b"".join(t.reshape(-1).view(torch.uint8).numpy().tobytes() for t in tensors)
    codec = codecs.get(file.header.model.name, codecs[MODELS[0]])
    return codec.decode(data).tobytes()


def work(pipe: Connection) -> None:
    """Decode what comes, say how it ended; memory beyond the limit is a MemoryError here."""
    codecs = {model: make_codec(model, "importance") for model in MODELS}
    for data in make_files():
        decode(data, codecs)  # compiles and loads everything before memory is limited
    used = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
    pipe.send(("ready", used))
    while True:
        data = pipe.recv_bytes()
        try:
            pipe.send(("decoded", decode(data, codecs)))
        except LaconicError as error:
            pipe.send((type(error).__name__, b""))
        except BaseException as error:
            pipe.send((f"FAULT {type(error).__name__}: {error}"[:300], b""))
        peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
        pipe.send(peak)


class Worker:
    """A process that can be killed."""

    def __init__(self) -> None:
        self.pipe, end = multiprocessing.Pipe()
        self.process = multiprocessing.get_context("spawn").Process(
            target=work, args=(end,), daemon=True
        )
        self.process.start()
        end.close()
        self.pipe.recv()

    def decode(self, data: bytes) -> tuple[str, bytes, int]:
        """How it ended, the pixels, and the process's peak memory so far."""
        self.pipe.send_bytes(data)
        try:
            if not self.pipe.poll(LIMIT_SECONDS):
                self.process.kill()
                return "FAULT hang", b"", 0
            outcome, pixels = self.pipe.recv()
            return outcome, pixels, self.pipe.recv()
        except EOFError:
            return "FAULT process died", b"", 0


def run(count: int, seed: int, repaired: bool) -> dict[str, object]:
    """Damage, decode, count."""
    files, worker = make_files(), Worker()
    plain = [worker.decode(data)[1] for data in files]
    generator = np.random.default_rng(seed)
    outcomes: dict[str, Counter[str]] = {kind: Counter() for kind in KINDS}
    slowest, peak, faults = 0.0, 0, []
    for trial in range(count):
        kind = KINDS[trial % len(KINDS)]
        index = int(generator.integers(len(files)))
        other = files[int(generator.integers(len(files)))]
        data = damage(files[index], other, kind, generator)
        data = repair(data) if repaired else data
        start = time.perf_counter()
        outcome, pixels, memory = worker.decode(data)
        slowest, peak = max(slowest, time.perf_counter() - start), max(peak, memory)
        if outcome == "decoded":
            same = pixels in plain
            outcome = "correct decode" if same else "another picture"
        if outcome.startswith("FAULT") or (outcome == "another picture" and not repaired):
            faults.append({"trial": trial, "kind": kind, "outcome": outcome, "data": data.hex()})
        if outcome in ("FAULT hang", "FAULT process died"):
            worker = Worker()
        outcomes[kind][outcome] += 1
    worker.process.kill()
    return {
        "count": count,
        "seed": seed,
        "checksums_repaired": repaired,
        "outcomes": {kind: dict(sorted(found.items())) for kind, found in outcomes.items()},
        "slowest_seconds": round(slowest, 3),
        "peak_process_bytes": peak,
        "within_limits": slowest < LIMIT_SECONDS and peak < LIMIT_BYTES,
        "faults": len(faults),
        "first_faults": faults[:5],
    }


def main() -> None:
    """Both kinds of run, one results.json."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--count", type=int, default=10_000)
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args()
    start = time.perf_counter()
    command = ["git", "rev-parse", "HEAD"]
    commit = subprocess.run(command, capture_output=True, text=True, check=False).stdout.strip()
    results = {
        "command": f"python experiments/corruption/run.py --count {options.count}",
        "commit": commit,
        "machine": f"{platform.machine()}, {platform.system()}, Python {platform.python_version()}",
        "target": "0 faults; below 10 s and 2 GiB each (issue 2, item 6)",
        "accidents": run(options.count, options.seed, False),
        "attacks": run(options.count // 4, options.seed + 1, True),
        "wall_seconds": round(time.perf_counter() - start, 1),
    }
    (HERE / "results.json").write_text(json.dumps(results, indent=2) + "\n")
    print(json.dumps(results, indent=2))


if __name__ == "__main__":
    main()
