"""Lossless compression of real files: our models beside PNG, lossless WebP and JPEG XL.

    python experiments/lossless/run.py                        # every table; results.json
    python experiments/lossless/run.py --only kodak speed     # some; the others stay as they are

The models of the digits, the ladder and the combination are trained by `laconic train` from the
YAML files beside this one and released by `run.py release`; the causal model is the embedded one.
"""

import argparse
import json
import time
from collections import Counter
from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path
from typing import Any, TypeAlias

import numpy as np
import torch
from PIL import Image
from safetensors.torch import save_file

import laconic
from laconic.codecs.lossless.chains.bits_back import ChainCoder
from laconic.codecs.lossless.chains.stacks import GroupShape
from laconic.codecs.lossless.codec import Core, LosslessCodec
from laconic.codecs.lossless.direct.squares import Squares
from laconic.codecs.lossless.file import make_coder
from laconic.data.binary import read_binary
from laconic.data.datasets import data_root
from laconic.data.idx import load_digits
from laconic.data.patches import load_images, read_split
from laconic.data.plugins import load_plugin
from laconic.evaluation.images.lossless import (
    CLASSICAL,
    Picture,
    check_equal,
    classical_sizes,
    contact_sheet,
    measure_set,
    size,
    timed,
)
from laconic.evaluation.images.results import finite
from laconic.evaluation.report.provenance import describe_run
from laconic.lab.datasets import BINARY_FILE
from laconic.models import make_model
from laconic.pretrained import LOSSLESS_MODELS, load, lossless_codec, release
from laconic.training.checkpoints import load_average
from laconic.training.config import read_config

HERE = Path(__file__).resolve().parent
DEFAULT = "laconic"
"""Row of what `laconic compress --lossless` does."""
SQUARES = "least squares of RGB"
"""Row of least squares without luma and chroma."""
EVERY = 3
"""Of the validation photographs that never were JPEG files, every so many-th is measured."""
PART = 512
"""Longest side of what is measured of them."""
Models: TypeAlias = dict[str, str | Path]
"""Rows of models of photographs: embedded names, or weights."""
SHEET_COLUMNS = 40
CIFAR_HELD_OUT = 500
CROPS = 500
CROP_SIDE = 32
SINGLES = 100


def released(name: str) -> Path:
    """Weights of a model trained from the YAML file of that name."""
    return Path(read_config(HERE / f"{name}.yaml")["folder"]) / f"{name}.safetensors"


def photo_models() -> dict[str, str | Path]:
    """The embedded causal models and whatever else has been trained for photographs."""
    trained = {name: released(name) for name in ("photo-ladder", "photo-both")}
    there = {name: path for name, path in trained.items() if path.exists()}
    return {name: name for name in LOSSLESS_MODELS} | there


def codec(model: str | Path) -> LosslessCodec:
    """The codec of an embedded model or of released weights."""
    loaded = load(model)
    return LosslessCodec(Core(make_coder(loaded.model), loaded.name, loaded.fingerprint))


def cifar(root: Path) -> list[Picture]:
    """The last 500 of the 3,000 lossless CIFAR-10 pictures; no model saw them."""
    sheet = np.asarray(
        Image.open(root / "cifar10" / "lossless_train_2000-2999.webp").convert("RGB")
    )
    pictures = sheet.reshape(25, 32, 40, 32, 3).transpose(0, 2, 1, 3, 4).reshape(1000, 32, 32, 3)
    return list(pictures[-CIFAR_HELD_OUT:])


def crops(root: Path) -> list[Picture]:
    """32 x 32 pixels of validation photographs that never were JPEG files."""
    paths = [p for p in read_split(root / "photos", "valid") if not p.name.startswith("bsds_")]
    images, rng, chosen = load_images(paths), np.random.default_rng(0), []
    for k in range(CROPS):
        image = images[k % len(images)]
        top, left = (int(rng.integers(side - CROP_SIDE + 1)) for side in image.shape[:2])
        chosen.append(image[top : top + CROP_SIDE, left : left + CROP_SIDE])
    return chosen


def small_pictures(pictures: list[Picture], models: Models) -> dict[str, Any]:
    """Ours as archives and as single files, the others as single files and as one sheet."""
    samples = sum(picture.size for picture in pictures)
    sheet = contact_sheet(pictures, SHEET_COLUMNS)
    table: dict[str, Any] = {
        name: {
            "bits_per_sample": 8 * sum(sizes) / samples,
            "sheet_bits_per_sample": 8 * size(sheet, name) / sheet.size,
        }
        for name, sizes in classical_sizes(pictures).items()
    }
    default = lossless_codec(None, None, None)
    table[DEFAULT] = asdict(measure_set(pictures, default, SINGLES))
    for key in ("overhead_percent", "single_payload_bits_per_sample"):  # Of models alone.
        del table[DEFAULT][key]
    for name, model in models.items():
        table[name] = asdict(measure_set(pictures, codec(model), SINGLES))
    return table


def kodak(root: Path, models: Models) -> dict[str, Any]:
    """Every picture a file of its own."""
    paths = sorted((root / "kodak").glob("kodim*.png"))
    pictures = [np.asarray(Image.open(path).convert("RGB")) for path in paths]
    original = [8 * q.stat().st_size * 3 / p.size for q, p in zip(paths, pictures, strict=True)]
    shipped = {"bits_per_pixel": original, "mean_bits_per_pixel": float(np.mean(original))}
    table: dict[str, Any] = {"png as shipped": shipped} | files(pictures, models)
    for row in table.values():
        row["percent_of_png"] = 100 * sum(row["bits_per_pixel"]) / sum(original)
    return table


def photographs(root: Path, were_jpeg: bool) -> dict[str, Any]:
    """The middles of validation photographs: of decoded JPEG files, or of others."""
    paths = read_split(root / "photos", "valid")
    chosen = [path for path in paths if path.name.startswith("bsds_") == were_jpeg]
    pictures = [middle(one) for one in load_images(chosen[:: 1 if were_jpeg else EVERY])]
    return files(pictures, {})


def middle(picture: Picture) -> Picture:
    """At most PART x PART pixels."""
    top, left = (max(side - PART, 0) // 2 for side in picture.shape[:2])
    return picture[top : top + PART, left : left + PART]


def files(pictures: list[Picture], models: Models) -> dict[str, Any]:
    """Bits per pixel of every picture in a file of its own: others, ours, models of ours."""
    table: dict[str, Any] = {
        name: {"bits_per_pixel": [8 * s * 3 / p.size for s, p in zip(sizes, pictures, strict=True)]}
        for name, sizes in classical_sizes(pictures).items()
    }
    for name, model in {DEFAULT: None, **models}.items():
        table[name] = our_files(pictures, model)
    coded = [Squares().encode(picture, 5) or picture.tobytes() for picture in pictures]
    sizes = zip(coded, pictures, strict=True)
    table[SQUARES] = {"bits_per_pixel": [8 * len(data) * 3 / one.size for data, one in sizes]}
    for row in table.values():
        row["mean_bits_per_pixel"] = float(np.mean(row["bits_per_pixel"]))
    return table


def our_files(pictures: list[Picture], model: str | Path | None) -> dict[str, Any]:
    """Sizes, methods, overhead over the negative ELBO where a model is used, seconds."""
    rows, methods, overheads = [], [], []
    for picture in pictures:
        data, encode = timed(lambda p=picture: laconic.compress(p, lossless=True, model=model))
        back, decode = timed(lambda d=data: np.asarray(laconic.decompress(d, model=model)))
        check_equal([picture], [back])
        file = laconic.open(data)
        methods += [one.method for one in file.info.kinds]
        if file.info.ideal_bits:
            overheads.append(8 * len(data) / file.info.ideal_bits - 1)
        rows.append((8 * len(data) * 3 / picture.size, encode, decode))
    columns = list(zip(*rows, strict=True))
    return {
        "bits_per_pixel": list(columns[0]),
        "methods": dict(Counter(methods)),
        "overhead_percent": 100 * float(np.mean(overheads)) if overheads else None,
        "encode_seconds": float(np.mean(columns[1])),
        "decode_seconds": float(np.mean(columns[2])),
    }


def digits(root: Path, name: str) -> dict[str, Any]:
    """The whole test set as one archive."""
    if name == "binary-mnist":
        bits = read_binary(root / name / BINARY_FILE, "test")[:, 0].numpy()
        pictures = list((bits > 0).astype(np.uint8) * 255)
    else:
        grey = load_digits(root / name, "t10k")[0][:, 0]
        pictures = list((grey * 255).round().numpy().astype(np.uint8))
    load_plugin("jxl")
    sheet = contact_sheet(pictures, 100)
    samples = sum(picture.size for picture in pictures)
    some = pictures[:: len(pictures) // 500][:500]
    table: dict[str, Any] = {
        other: {
            "bits_per_sample": 8 * sum(size(p, other) for p in some) / sum(p.size for p in some),
            "sheet_bits_per_sample": 8 * size(sheet, other) / samples,
        }
        for other in CLASSICAL
    }
    table[name] = asdict(measure_set(pictures, codec(released(name)), SINGLES))
    return table


def exactness(root: Path) -> dict[str, Any]:
    """Written with 16 pictures at once and 2 threads, read with 1 and 1, hundreds of pictures."""

    found = {}
    pixels = np.stack(cifar(root) + crops(root))
    for name, model in photo_models().items():
        exact = load(model).model.exact_ladder()
        torch.set_num_threads(2)
        group = ChainCoder(exact, batch=16, threads=2).encode(pixels)
        torch.set_num_threads(1)
        back = ChainCoder(exact, batch=1, threads=1).decode(group, *GroupShape.of(pixels))
        found[name] = {
            "pictures": len(pixels),
            "equal": bool(np.array_equal(np.stack(list(back)), pixels)),
        }
        torch.set_num_threads(2)
    return found


TABLES: dict[str, Callable[[Path, Models], dict[str, Any]]] = {
    "kodak": kodak,
    "photographs": lambda root, _: photographs(root, were_jpeg=False),
    "decoded-jpeg": lambda root, _: photographs(root, were_jpeg=True),
    "cifar": lambda root, models: small_pictures(cifar(root), models),
    "crops": lambda root, models: small_pictures(crops(root), models),
    "binary-mnist": lambda root, _: digits(root, "binary-mnist"),
    "mnist": lambda root, _: digits(root, "mnist"),
    "exactness": lambda root, _: exactness(root),
}


class Targets:
    """What was aimed at beside what was measured."""

    def __init__(self) -> None:
        self.rows: list[dict[str, Any]] = []

    def add(self, name: str, bound: float, ours: float, below: bool = True) -> None:
        """One line of the table."""
        target = f"{'at most' if below else 'at least'} {bound:.4g}"
        met = ours <= bound if below else ours >= bound
        self.rows.append({"name": f"lossless: {name}", "target": target, "ours": ours, "met": met})

    def speeds(self, name: str, ours: dict[str, float]) -> None:
        """1 MB/s each way."""
        for way in ("encode", "decode"):
            self.add(f"{name}, {way}, MB/s", 1.0, ours[f"{way}_mb_per_s"], below=False)

    def small(self, name: str, table: dict[str, Any]) -> None:
        """Pictures of 32x32 pixels: the others, and the ladder's chains."""
        rows = [table[row] for row in (DEFAULT, *LOSSLESS_MODELS) if row in table]
        ours = min(row["bits_per_sample"] for row in rows)
        for other in CLASSICAL:
            bound = table[other]["bits_per_sample"]
            self.add(f"{name}, bits per sample, against {other}", bound, ours)
        if "photo-ladder" in table:
            ladder = table["photo-ladder"]
            overhead = ladder["overhead_percent"]
            self.add(f"{name}, ladder chained over negative ELBO, %", 1.0, overhead)
            self.speeds(f"{name}, ladder", ladder)


def targets(document: dict[str, Any]) -> list[dict[str, Any]]:
    """Every target of the tables that are there."""
    found = Targets()
    tables = {name: document[name]["table"] for name in TABLES if name in document}
    for name, bound in (("binary-mnist", 0.19), ("mnist", 1.35)):
        if name in tables:
            ours = tables[name][name]
            found.add(f"{name} test set, bits per pixel", bound, ours["bits_per_sample"])
            found.add(f"{name}, archive over negative ELBO, %", 1.0, ours["overhead_percent"])
            found.speeds(name, ours)
    for name in ("cifar", "crops"):
        if name in tables:
            found.small(name, tables[name])
    if "kodak" in tables:
        means = {name: row["mean_bits_per_pixel"] for name, row in tables["kodak"].items()}
        bound = 0.85 * means["png"]
        found.add("Kodak, bits per pixel, 85 % of optimised PNG", bound, means[DEFAULT])
        found.add("Kodak, bits per pixel, against WebP", means["webp"], means[DEFAULT])
        found.add("Kodak, bits per pixel, against JPEG XL", means["jxl"], means[DEFAULT])
        for way, most in (("encode", 1.5), ("decode", 1.0)):
            seconds = tables["kodak"][DEFAULT][f"{way}_seconds"]
            found.add(f"Kodak, seconds to {way} 768x512", most, seconds)
    for name in ("photographs", "decoded-jpeg"):
        if name in tables:
            means = {key: row["mean_bits_per_pixel"] for key, row in tables[name].items()}
            found.add(f"{name}, bits per pixel, against JPEG XL", means["jxl"], means[DEFAULT])
    return found.rows


def kept_rows(earlier: dict[str, Any], table: dict[str, Any]) -> dict[str, Any]:
    """Rows of models whose weights are not here, each with the commit that measured it."""
    return {
        name: {"commit": earlier["run"]["commit"], **row}
        for name, row in earlier.get("table", {}).items()
        if name not in table
    }


def measure(root: Path, names: list[str], models: Models) -> None:
    """Make tables anew; those not named stay as they are, and so do rows of absent weights."""
    path = HERE / "results.json"
    document = json.loads(path.read_text()) if path.exists() else {}
    document["title"] = "Lossless files of real pictures"
    for name in names:
        started = time.time()
        table = TABLES[name](root, models)
        table = kept_rows(document.get(name, {}), table) | table
        command = f"python experiments/lossless/run.py --only {name}"
        run = describe_run(command, started, HERE.parents[1], threads=torch.get_num_threads())
        document[name] = {"run": run, "table": table}
        document["run"], document["targets"] = run, targets(document)
        path.write_text(json.dumps(finite(document), indent=1) + "\n")
        print(name, json.dumps(table, indent=1)[:2000], flush=True)


def merge() -> None:
    """The ladder and the causal network in one model, which ignores the latents at first."""
    config = read_config(HERE / "photo-both.yaml")
    state = make_model(config["model"]).state_dict()
    for name in ("photo-ladder", "photo-causal"):
        found, _ = load_average(released(name).with_name("checkpoint.safetensors"))
        state |= {key: value for key, value in found.items() if not key.startswith("leave.")}
    state |= {key: value * 0 for key, value in state.items() if key.startswith("leave.")}
    path = Path(config["start_from"])
    path.parent.mkdir(parents=True, exist_ok=True)
    save_file(state, path, metadata={"meta": json.dumps({"model": config["model"], "step": 0})})
    print(path)


def main() -> None:
    """Measure, or merge or release trained weights."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument(
        "step", nargs="?", choices=("measure", "release", "merge"), default="measure"
    )
    parser.add_argument("--only", nargs="+", choices=tuple(TABLES), default=tuple(TABLES))
    parser.add_argument("--data", type=Path, default=data_root())
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument(
        "--no-models", action="store_true", help="keep the rows of single models of photographs"
    )
    arguments = parser.parse_args()
    torch.set_num_threads(arguments.threads)
    if arguments.step == "measure":
        measure(arguments.data, list(arguments.only), {} if arguments.no_models else photo_models())
        return
    if arguments.step == "merge":
        merge()
        return
    for config in sorted(HERE.glob("*.yaml")):
        checkpoint = released(config.stem).parent / "checkpoint.safetensors"
        if checkpoint.exists():
            release(checkpoint, released(config.stem))
            print(released(config.stem))


if __name__ == "__main__":
    main()
