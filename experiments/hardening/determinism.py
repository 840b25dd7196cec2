"""Files decode the same whatever the threads, the precision, the batch and the versions.

    python experiments/hardening/determinism.py [--files 1000] [--minutes 60] [--oldest FOLDER]
        [--calls 1600]

Crops of 64 x 64 pixels of Kodak pictures are compressed, each lossy, and 16 at a time in a lossless
archive with the model, with one thread, float32 and batch 1. Then every combination of {1, 2
threads}, {float32, bfloat16, float64}, {batch 1, 16} and {newest, oldest numpy} decodes them: the
latents of lossy files and the pixels of lossless ones must be equal to the bit. (Lossless files
have no precision to choose: their networks are integers.) FOLDER holds the oldest versions:

    pip install --target FOLDER --no-deps numpy==2.0.0 numba==0.62.0 llvmlite==0.45.0

Oldest and newest torch are one version, see constraints-oldest.txt. And calls: as many as
requested (0: none), on 8 threads, equal to serial ones; children made by fork and by spawn; and
memory over
five eighths of that number, of which the first quarter is not counted. Everything that is done is
kept in `runs/determinism`; a second start continues.
"""

import argparse
import contextlib
import ctypes
import gc
import hashlib
import json
import multiprocessing
import os
import subprocess
import sys
import time
from collections import defaultdict
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from itertools import product
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image
from torch import Tensor
from torch.distributions import Normal

HERE = Path(__file__).resolve().parent
STATE = Path("runs/determinism")
SIDE, BATCH = 64, 16
PART = 4 * BATCH
"""Files that one process decodes."""
QUALITIES = (5, 30, 60, 90)
THREADS, DTYPES, BATCHES = (1, 2), ("float32", "bfloat16", "float64"), (1, BATCH)
CALLS, CALLING_THREADS = 1600, 8
GROWTH_BYTES = 8 << 20


def main() -> None:
    """Decode in all ways for as long as allowed, and write results.json."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--files", type=int, default=1000)
    parser.add_argument("--minutes", type=float, default=60)
    parser.add_argument("--oldest", type=Path)
    parser.add_argument("--work", type=int, nargs=2, metavar=("FIRST", "LAST"))
    parser.add_argument("--calls", type=int, default=CALLS)
    parser.add_argument("--only-calls", action="store_true", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.work:
        print(json.dumps(decode_all(range(*options.work))))
        return
    if options.only_calls:
        print(json.dumps(call_often(options.calls)))
        return
    started = time.time()
    (STATE / "files").mkdir(parents=True, exist_ok=True)
    versions = {"newest": None} | ({"oldest": options.oldest} if options.oldest else {})
    for first in range(0, options.files, PART):
        if time.time() - started > 60 * options.minutes:
            break
        for begin in range(first, first + PART, BATCH):
            write_files(range(begin, begin + BATCH))
        for name, folder in versions.items():
            record = STATE / f"{name}-{first}.json"
            if not record.exists():
                arguments = ["--work", str(first), str(first + PART)]
                record.write_text(run_self(arguments, folder))
    record = STATE / f"calls-{options.calls}.json"
    if options.calls and not record.exists():
        record.write_text(run_self(["--only-calls", "--calls", str(options.calls)], None))
    write_results(started, json.loads(record.read_text()) if options.calls else None)


def run_self(arguments: Sequence[str], packages: Path | None) -> str:
    """The last line that this script prints in another process."""
    environment = dict(os.environ)
    if packages is not None:
        path = os.pathsep.join([str(packages), environment.get("PYTHONPATH", "")])
        environment |= {"PYTHONPATH": path, "NUMBA_CACHE_DIR": str(STATE.absolute() / "numba")}
    done = subprocess.run(
        [sys.executable, __file__, *arguments], env=environment, stdout=subprocess.PIPE, check=True
    )
    return done.stdout.decode().strip().splitlines()[-1]


def crop(number: int) -> Image.Image:
    """Picture `number`, the same for ever."""
    from laconic.data.datasets import data_root
    from laconic.data.folders import list_images

    paths = list_images(data_root() / "kodak")
    with Image.open(paths[number % len(paths)]) as image:
        place = number // len(paths)
        left, top = 97 * place % (image.width - SIDE), 61 * place % (image.height - SIDE)
        return image.convert("RGB").crop((left, top, left + SIDE, top + SIDE))


def write_files(numbers: range) -> None:
    """Both files of every picture."""
    from laconic import pretrained
    from laconic.codecs.image.codec import ImageCodec
    from laconic.codecs.lossless.codec import Core, LosslessCodec
    from laconic.codecs.lossless.file import make_coder

    lossy, exact = pretrained.load("default"), pretrained.load("pixels")
    image = ImageCodec(lossy.model, lossy.name, lossy.fingerprint, threads=1)
    core = Core(make_coder(exact.model, 1), exact.name, exact.fingerprint)
    lossless = LosslessCodec(core)
    quality = QUALITIES[numbers[0] // BATCH % len(QUALITIES)]
    for number in numbers:
        save(f"{number}-image", lambda number=number: image.encode(crop(number), quality))
    sources = [(f"{number}.png", lambda number=number: crop(number)) for number in numbers]
    save(f"{numbers[0]}-archive", lambda: lossless.archive(sources))


def save(name: str, write: Callable[[], bytes]) -> None:
    """Write a file whole, if it is not there."""
    path = STATE / "files" / f"{name}.lac"
    if not path.exists():
        temporary = path.with_suffix(".part")
        temporary.write_bytes(write())
        temporary.rename(path)


def decode_all(numbers: range) -> dict[str, list[str]]:
    """SHA-256 of the latents, or of the pixels, of each file, by combination."""
    found = {}
    for threads, dtype, batch in product(THREADS, DTYPES, BATCHES):
        name = f"image {threads} threads {dtype} batch {batch}"
        found[name] = list(decode_images(numbers, threads, dtype, batch))
    for threads, batch in product(THREADS, BATCHES):
        name = f"lossless {threads} threads batch {batch}"
        found[name] = list(decode_lossless(numbers, threads, batch))
    found["numpy"], found["torch"] = [np.__version__], [torch.__version__]
    return found


def decode_images(numbers: range, threads: int, dtype: str, batch: int) -> Iterator[str]:
    """Of lossy files: priors of `batch` pictures at once, draws of each file from its own."""
    from laconic import pretrained
    from laconic.codecs.image.decoder import Runtime
    from laconic.codecs.image.file import ImageFile

    loaded = pretrained.load("default")
    runtime = Runtime(loaded.model, dtype, threads)
    for first in range(0, len(numbers), batch):
        paths = [STATE / "files" / f"{k}-image.lac" for k in numbers[first : first + batch]]
        files = [ImageFile.read(path.read_bytes()) for path in paths]
        with runtime.running():
            latents = read_batch(files, runtime)
        yield from map(digest, latents)


def read_batch(files: Sequence[Any], runtime: Any) -> list[list[Tensor]]:
    """The latents of files of one size and quality, with the networks on all of them at once."""
    from laconic.codecs.image.decoder import LevelReader
    from laconic.coding.random import SharedRandomness
    from laconic.distributions.rated import RatedNormal
    from laconic.models.base import Condition, Context, PriorWalk
    from laconic.models.walk import walk

    header = files[0].header
    one = runtime.context(SIDE, SIDE, header.quality_step, header.taste)
    condition, count = one.condition, len(files)
    taste = None if condition.taste is None else condition.taste.repeat(count)
    log_beta = condition.log_beta.repeat(count)
    many = Condition(log_beta, condition.position, taste, condition.taste_position)
    readers = [
        LevelReader(
            [coder.make() for coder in file.header.coders],
            list(zip(file.latents(), file.header.layer_sizes, strict=True)),
            SharedRandomness(file.header.seed).child(0),
        )
        for file in files
    ]
    found: list[list[Tensor]] = [[] for _ in files]

    def read(level: int, prior: Normal) -> Tensor:
        draws = []
        for k, reader in enumerate(readers):
            parts = prior.loc[k : k + 1], prior.scale[k : k + 1]
            own = Normal(*parts, validate_args=False)
            if isinstance(prior, RatedNormal):
                own = RatedNormal(*parts, prior.rates[k : k + 1])
            draws.append(reader(level, own))
            found[k].append(draws[-1])
        return torch.cat(draws)

    walk(PriorWalk(runtime.model.levels, runtime.exact_prior, Context(one.shape, many)), read)
    return found


def decode_lossless(numbers: range, threads: int, batch: int) -> Iterator[str]:
    """Of the pictures of an archive, which the networks see one at a time or several at once."""
    from laconic import pretrained
    from laconic.codecs.lossless.chains.bits_back import ChainCoder
    from laconic.codecs.lossless.file import LosslessFile
    from laconic.progress import silent

    loaded = pretrained.load("pixels")
    coder = ChainCoder(loaded.model.exact_ladder(), batch, threads=threads)
    for first in numbers[::BATCH]:
        data = (STATE / "files" / f"{first}-archive.lac").read_bytes()
        for _, image in LosslessFile.read(data).render(coder, silent):
            yield hashlib.sha256(image.tobytes()).hexdigest()[:16]


def digest(latents: Sequence[Tensor]) -> str:
    """Of the latents of a file, in float64."""
    whole = b"".join(latent.double().numpy().tobytes() for latent in latents)
    return hashlib.sha256(whole).hexdigest()[:16]


def call(number: int) -> str:
    """Compress and decompress a small picture; what came out."""
    import laconic

    image = crop(number % BATCH)
    data = laconic.compress(image, quality=50, threads=1)
    back = laconic.decompress(data, threads=1)
    return hashlib.sha256(data + back.tobytes()).hexdigest()[:16]


def call_often(calls: int) -> dict[str, Any]:
    """Calls from threads, from children, and many in a row."""
    import resource

    import psutil

    serial = [call(number) for number in range(BATCH)]
    with ThreadPoolExecutor(CALLING_THREADS) as pool:
        several = list(pool.map(call, range(calls)))
    wrong = sum(one != serial[k % BATCH] for k, one in enumerate(several))
    found: dict[str, Any] = {"threaded_calls": len(several), "threaded_differences": wrong}
    for method in ("fork", "spawn"):
        with multiprocessing.get_context(method).Pool(2) as pool_of_processes:
            other = pool_of_processes.map(call, range(BATCH))
        found[f"{method}_differences"] = sum(a != b for a, b in zip(other, serial, strict=True))
    process = psutil.Process()
    held: list[int] = []
    used: list[int] = []
    for number in range(5 * calls // 8):
        call(number)
        held.append(process.memory_info().rss)
        return_memory()
        used.append(process.memory_info().rss)
    quarter = len(used) // 4
    growth, raw = (
        max(sizes[-quarter:]) - max(sizes[quarter : 2 * quarter]) for sizes in (used, held)
    )
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
    found |= {"calls": len(used), "growth_bytes": growth, "growth_with_free_memory_bytes": raw}
    return found | {"peak_bytes": peak}


def return_memory() -> None:
    """Give freed memory back to the system, where the C library can: what is left is in use."""
    gc.collect()
    with contextlib.suppress(OSError, AttributeError):
        ctypes.CDLL(None).malloc_trim(0)


def compare() -> tuple[dict[str, dict[str, int]], dict[str, list[str]]]:
    """Files and differences of each combination; and the versions."""
    rows: dict[str, dict[str, int]] = defaultdict(lambda: {"files": 0, "differences": 0})
    versions: dict[str, list[str]] = {}
    for record in sorted(STATE.glob("*est-*.json")):
        name, _, first = record.stem.partition("-")
        found = json.loads(record.read_text())
        versions[name] = [*found.pop("numpy"), *found.pop("torch")]
        reference = json.loads((STATE / f"newest-{first}.json").read_text())
        exact = [
            hashlib.sha256(crop(int(first) + k).tobytes()).hexdigest()[:16] for k in range(PART)
        ]
        for way, digests in found.items():
            expected = reference["image 1 threads float32 batch 1"]
            if way.startswith("lossless"):
                expected = exact
            row = rows[f"{name} {way}"]
            row["files"] += len(digests)
            row["differences"] += sum(a != b for a, b in zip(digests, expected, strict=True))
    return dict(rows), versions


def write_results(started: float, calls: dict[str, Any] | None) -> None:
    """results.json, from all records."""
    from laconic.evaluation.report.provenance import describe_run

    rows, versions = compare()
    files = min(row["files"] for row in rows.values())
    wrong = sum(row["differences"] for row in rows.values())
    targets = [
        target("files decoded in every way", "1000", files, files >= 1000),
        target("differences in latents and lossless pixels", "0", wrong, wrong == 0),
        target("versions of numpy compared", "2", len(versions), len(versions) > 1),
        *call_targets(calls),
    ]
    document = {
        "title": "The same on every thread, precision, batch and version",
        "run": describe_run(
            "python experiments/hardening/determinism.py", started, HERE.parents[1], seeds=[]
        ),
        "targets": targets,
        "versions": versions,
        "ways": rows,
        "calls": calls,
    }
    place = HERE / "determinism" / "results.json"
    place.parent.mkdir(exist_ok=True)
    place.write_text(json.dumps(document, indent=1) + "\n")
    print(json.dumps(document, indent=1))


def call_targets(calls: dict[str, Any] | None) -> list[dict[str, Any]]:
    """The rows of calls; where none were made, one that says so."""
    if calls is None:
        return [target("calls on 8 threads", str(CALLS), 0, False)]
    count, wrong = calls["threaded_calls"], calls["threaded_differences"]
    children = calls["fork_differences"] + calls["spawn_differences"]
    growth = calls["growth_bytes"]
    name = f"growth of memory in use over {calls['calls']} calls, MiB"
    return [
        target("calls on 8 threads", str(CALLS), count, count >= CALLS),
        target(
            f"differences of {count} calls on {CALLING_THREADS} threads", "0", wrong, wrong == 0
        ),
        target("differences in children by fork and spawn", "0", children, children == 0),
        target(name, "below 8", round(growth / 2**20, 2), growth < GROWTH_BYTES),
    ]


def target(name: str, wanted: str, ours: float, met: bool) -> dict[str, Any]:
    """A row of the target table."""
    return {"issue": 23, "name": name, "target": wanted, "ours": ours, "met": met}


if __name__ == "__main__":
    main()
