"""`laconic bench`: measures speed and sizes on this machine."""

import io
import json
import os
import platform
import statistics
import time
from collections.abc import Callable
from enum import StrEnum
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from laconic.cli.common import print_json
from laconic.cli.data import DataRoot
from laconic.cli.lists import list_coders, split_list
from laconic.cli.outputs import STDIO, Force, Writer, to_path
from laconic.container.storage import is_special
from laconic.errors import ConfigError, InputError

if TYPE_CHECKING:
    from laconic.codecs.image.codec import ImageCodec


class Subject(StrEnum):
    """The subjects of a measurement."""

    REC = "rec"
    ENTROPY = "entropy"
    IMAGE = "image"
    NETWORK = "network"


def bench(
    subject: Annotated[Subject, typer.Argument(help="What to measure.")],
    out: Annotated[
        Path | None,
        typer.Option(
            "--json", parser=to_path, metavar="PATH", help="Write the results here; - is stdout."
        ),
    ] = None,
    repeats: Annotated[
        int, typer.Option(min=1, help="Number of runs; the median counts. Not for rec.")
    ] = 3,
    threads: Annotated[int | None, typer.Option(min=1, help="Threads of the networks.")] = None,
    coder: Annotated[
        list[str] | None,
        typer.Option(
            metavar="NAME",
            callback=list_coders,
            is_eager=True,
            help="rec: these coders only, repeated or separated by commas; `--coder help` lists "
            "all.",
        ),
    ] = None,
    quick: Annotated[bool, typer.Option("--quick", help="rec: few and small points.")] = False,
    section: Annotated[
        list[str] | None,
        typer.Option(
            help="rec: only kl, blocks, ladder or pictures, repeated or separated by commas."
        ),
    ] = None,
    figure: Annotated[
        Path | None,
        typer.Option(
            parser=to_path, metavar="PATH", help="rec: write an SVG of bits per bit of KL here."
        ),
    ] = None,
    force: Force = False,
    data: DataRoot = None,
) -> None:
    """Measure speed and sizes; prints one JSON object, or writes it to the file of --json.

    bench rec prints a table, and adds its results to the file of --json, where the results of other
    coders are kept. Other existing files are replaced only with --force.
    """
    drawn = Writer(force=force, option="--figure", is_text=True)
    if figure is not None:
        drawn.check(figure)
    if subject is Subject.REC:
        found = _bench_coders(
            split_list(coder or []), split_list(section or []), quick, out, threads
        )
        if figure is not None:
            from laconic.evaluation.coders.chart import draw_coder_chart

            drawn.write(figure, draw_coder_chart(found))
            typer.echo(f"wrote {figure}", err=True)
        return
    if out is not None:
        Writer(force=force, option="--json", is_text=True).check(out)
    if subject is Subject.IMAGE:
        results = _bench_image(repeats, threads)
    elif subject is Subject.ENTROPY:
        results = _bench_entropy(repeats)
    else:
        results = _bench_network(repeats)
    import torch

    results |= {
        "command": f"laconic bench {subject.value}",
        "machine": f"{platform.machine()}, {platform.system()}, torch {torch.__version__}",
        "threads": threads or torch.get_num_threads(),
        "repeats": repeats,
    }
    if out is None or out == STDIO:
        print_json(results)
        return
    write_json(results, out, force)
    typer.echo(f"wrote {out}", err=True)


def write_json(value: dict[str, Any], path: Path, force: bool) -> None:
    """One JSON object in a file, all or nothing."""
    text = json.dumps(value, indent=1, allow_nan=False)
    Writer(force=force, option="--json", is_text=True).write(path, (text + "\n").encode())


def _median_seconds(work: Callable[[], Any], repeats: int) -> float:
    """Median wall time, after one untimed run that compiles and fills caches."""
    work()
    times = []
    for _ in range(repeats):
        start = time.perf_counter()
        work()
        times.append(time.perf_counter() - start)
    return statistics.median(times)


def _bench_image(repeats: int, threads: int | None) -> dict[str, Any]:
    """Compress and decompress the sample image with the embedded model, JPEG and WebP."""
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

    from laconic.coding.queue.stream import AdaptiveModel, QueueDecoder, QueueEncoder
    from laconic.coding.random import SharedRandomness

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


def _bench_network(repeats: int) -> dict[str, Any]:
    """The network codec on the embedded image model's weights in half precision."""
    import laconic
    from laconic.pretrained import load

    weights = {name: tensor.half() for name, tensor in load().model.state_dict().items()}
    size, rows = sum(2 * tensor.numel() for tensor in weights.values()), []
    for options in ({"lossless": True}, {"tolerance": 0.01}, {"tolerance": 0.05}):
        data = laconic.shrink(weights, **options)
        rows.append(
            {
                **options,
                "bytes": len(data),
                "share": len(data) / size,
                "encode_seconds": _median_seconds(
                    partial(laconic.shrink, weights, **options),
                    repeats,
                ),
                "decode_seconds": _median_seconds(partial(laconic.expand, data), repeats),
            }
        )
    return {"raw_bytes": size, "points": rows}


def _bench_coders(
    names: list[str],
    sections: list[str],
    quick: bool,
    out: Path | None,
    threads: int | None,
) -> dict[str, Any]:
    """Measure every relative entropy coder, or the named ones; one line per measurement on stdout.

    The file `out` is written after each coder, and keeps the results of other coders; a pipe or
    device is written once, at the end. Returns the results of all coders.
    """
    import torch

    from laconic.coding.relative_entropy import CODERS
    from laconic.evaluation.coders.measures import QUICK, SECTIONS, Plan, measure_coder
    from laconic.evaluation.report.provenance import describe_run

    every = [*CODERS, "is-gs"]
    for given, known_names, what in ((names, every, "coder"), (sections, SECTIONS, "section")):
        for name in given:
            if name not in known_names:
                raise ConfigError(f"no {what} is named {name!r}: choose from {sorted(known_names)}")
    if threads is not None:
        torch.set_num_threads(threads)
    adds = out is not None and out != STDIO and not is_special(out)
    document = _read_document(out if adds else None)
    pictures = _kodak()
    say = partial(typer.echo, err=out == STDIO)
    for name in names or every:
        started = time.time()
        plan = QUICK if quick else Plan()
        found = measure_coder(name, plan, pictures, _image_codec, say, sections)
        command = f"laconic bench rec --coder {name}{' --quick' * quick}"
        command += "".join(f" --section {section}" for section in sections)
        facts = {"threads": torch.get_num_threads(), "load": os.getloadavg()[0]}
        found["run"] = describe_run(command, started, Path.cwd(), **facts)
        if sections:
            found = {**document["coders"].get(name, {}), **found}
        known = {**document["coders"], name: found}
        order = [*(one for one in CODERS if one in known), *(one for one in known)]
        document["coders"] = {one: known[one] for one in dict.fromkeys(order)}
        document["run"] = found["run"] | {"command": "laconic bench rec"}
        if out is not None and adds:
            write_json(document, out, force=True)
    if out is not None and not adds:
        write_json(document, out, force=True)
    coders: dict[str, Any] = document["coders"]
    return coders


def _read_document(out: Path | None) -> dict[str, Any]:
    """The existing results in the file; an empty document if there is no file."""
    empty = {"title": "Relative entropy coders", "command": "laconic bench rec", "coders": {}}
    if out is None or not out.exists():
        return empty
    try:
        document = json.loads(out.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise InputError(f"cannot add results to {out}: it is not a JSON file") from error
    if not isinstance(document, dict) or not isinstance(document.get("coders"), dict):
        raise InputError(f"cannot add results to {out}: laconic bench rec did not write it")
    return empty | document


def _kodak() -> list[Path]:
    """The Kodak pictures; without the folder, an empty list and a warning on stderr."""
    from laconic.data.datasets import data_root
    from laconic.data.folders import list_images

    folder = data_root() / "kodak"
    if not folder.is_dir():
        typer.echo(
            f"real posteriors are left out: there is no folder {folder}; "
            "--data or LACONIC_DATA names the folder of all data sets",
            err=True,
        )
        return []
    return list_images(folder)


def _image_codec(coder: str) -> "ImageCodec":
    """The embedded model with one coder."""
    from laconic.codecs.image.codec import ImageCodec
    from laconic.pretrained import load

    model = load()
    return ImageCodec(model.model, model.name, model.fingerprint, coder=coder)
