"""The lossy image codec on Kodak 1-16 beside classical codecs and the source's own figures.

    python experiments/kodak/run.py [--data FOLDER] [--out FOLDER]
    python experiments/kodak/run.py --tune psnr|ms-ssim [--model NAME] [--effort 0-9]
    python experiments/kodak/run.py --tune psnr --anchors-of experiments/kodak/results.json

`--anchors-of` takes the files of the other codecs as an earlier run measured them, their seconds
too, where that run had the same pictures, settings and packages. `--qualities` measures ours at
some of its qualities only; with `--go-on` they join those in the folder's results.json.

Writes results.json, the figures and page.html beside this file; of a taste, into a folder of that
name beside it.
"""

import argparse
import json
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import torch

from laconic.codecs.image.codec import ImageCodec
from laconic.codecs.image.header import TUNES
from laconic.container import write_atomically
from laconic.data.datasets import data_root
from laconic.data.folders import list_images, load_rgb
from laconic.evaluation.anchors.classical import Codec, find_anchors
from laconic.evaluation.anchors.published import load_flamich_image, load_published
from laconic.evaluation.images.comparison import QUALITIES, compare, image_at
from laconic.evaluation.images.gallery import make_gallery, setting_near
from laconic.evaluation.images.ours import OurCodec, exact_draw
from laconic.evaluation.images.rate_distortion import rate_distortion
from laconic.evaluation.images.results import (
    Curve,
    Point,
    Study,
    finite,
    load_study,
    study_to_json,
)
from laconic.evaluation.report.figures import draw_figure, save_figure
from laconic.evaluation.report.page import median, render_page
from laconic.evaluation.report.provenance import describe_run
from laconic.metrics import psnr
from laconic.pretrained import DEFAULT

HERE = Path(__file__).resolve().parent
REPOSITORY = HERE.parents[1]

PACKAGES = ("pillow", "pillow-heif", "pillow-jxl-plugin", "pytorch-msssim")
"""That other codecs' files and their figures depend on."""

MakeCodec = Callable[[str, int], ImageCodec]
"""A codec at a precision ("float32", "bfloat16", "float64") with a number of threads."""

Config = Mapping[str, Any]
Rows = list[dict[str, Any]]


def embedded(model: str, tune: str | None = None, effort: int = 0) -> MakeCodec:
    """Codecs with an embedded model, or with weights by path."""
    from laconic.pretrained import load

    def make(dtype: str, threads: int) -> ImageCodec:
        loaded = load(model)
        settings = {"dtype": dtype, "threads": threads, "tune": tune, "effort": effort}
        return ImageCodec(loaded.model, loaded.name, loaded.fingerprint, **settings)

    return make


def measure_all(
    make: MakeCodec,
    folder: Path,
    config: Config,
    known: Mapping[str, Curve] | None = None,
    before: Path | None = None,
) -> tuple[Study, dict[str, Any]]:
    """Every figure of the experiment; no files are written.

    Args:
        make: makes our codec.
        folder: of the pictures.
        config: see config.json.
        known: curves of other codecs by name, which are not measured again.
        before: results.json of an earlier run of ours at other qualities, which this one joins.
    """
    codec = OurCodec(make("float32", config["threads"]))
    study = with_anchors(codec, folder, config, known or {})
    if before is not None:
        study = joined(load_study(before), study)
    ours = study.curves[0]
    low, high = config["rate_range"]
    differences = [
        compare(ours, other, figure, (low, high))
        for other in study.curves[1:]
        for figure in QUALITIES
    ]
    found = {
        "comparisons": [asdict(one) for one in differences],
        "source_image": source_image(ours, config),
        "samples": samples(codec, folder, config),
        "lengths": [lengths(point) for point in ours.points],
        "seconds": seconds(study),
        "portability": portability(make, folder, config)
        if before is None
        else json.loads(before.read_text(encoding="utf-8"))["portability"],
    }
    return study, found | {"targets": targets(found)}


def with_anchors(
    codec: OurCodec, folder: Path, config: Config, known: Mapping[str, Curve]
) -> Study:
    """Our curve and those of the other codecs."""
    anchors = find_anchors(config["anchors"])
    plan: list[tuple[Codec, Sequence[float]]] = [(codec, config["qualities"])]
    plan += [(anchor, anchor.settings) for anchor in anchors if anchor.name not in known]
    study = rate_distortion(plan, folder, say)
    curves = {**known, **{curve.codec: curve for curve in study.curves}}
    for curve in known.values():
        if [image.image for image in curve.points[0].images] != study.images:
            raise SystemExit(f"the earlier run measured {curve.label} on other pictures")
    order = [codec.name, *config["anchors"]]
    return Study(study.title, tuple(curves[name] for name in order), study.failures)


def joined(before: Study, study: Study) -> Study:
    """The study with our points of an earlier one as well, by quality."""
    old, new = before.curves[0], study.curves[0]
    if old.description != new.description or before.images != study.images:
        raise SystemExit("the earlier run had another model, another coder or other pictures")
    points = {point.setting: point for point in (*old.points, *new.points)}
    curve = replace(new, points=tuple(points[setting] for setting in sorted(points)))
    return replace(study, curves=(curve, *study.curves[1:]))


def earlier_anchors(path: Path, config: Config) -> dict[str, Curve]:
    """The curves of the other codecs in an earlier run, where it had our settings and packages."""
    run, study = json.loads(path.read_text(encoding="utf-8"))["run"], load_study(path)
    now = describe_run("", time.time(), REPOSITORY)["versions"]
    if any(run["versions"].get(name) != now.get(name) for name in PACKAGES):
        raise SystemExit(f"{path}: was measured with other versions of {', '.join(PACKAGES)}")
    found = {}
    for anchor in find_anchors(config["anchors"]):
        curve = study.curve(anchor.name)
        settings = tuple(point.setting for point in curve.points)
        if (curve.description, settings) == (anchor.description, anchor.settings):
            found[anchor.name] = curve
    return found


def say(done: int, total: int) -> None:
    """Progress on stderr."""
    end = "\n" if done == total else "\r"
    print(f"{done}/{total} measurements", end=end, file=sys.stderr, flush=True)


def source_image(ours: Curve, config: Config) -> Rows:
    """Our qualities on the source's picture at the source's rates."""
    name = config["source_image"]
    return [
        {
            "image": name,
            "bpp": point["bpp"],
            "figure": figure,
            "source": point[figure],
            "ours": image_at(ours, name, figure, point["bpp"]),
        }
        for point in config["source_points"]
        for figure in QUALITIES
    ]


def samples(codec: OurCodec, folder: Path, config: Config) -> Rows:
    """PSNR of the picture decoded from the coded draw, and from an exact draw of the posterior."""
    generator = torch.Generator().manual_seed(config["sample_seed"])
    rows = []
    for quality in config["sample_qualities"]:
        for path in list_images(folder):
            pixels = load_rgb(path)
            coded = psnr(pixels, codec.decode(codec.encode(pixels, quality)))
            model, taste = codec.codec.runtime.model, codec.codec.taste
            exact = psnr(pixels, exact_draw(model, pixels, quality, generator, taste))
            rows.append({"image": path.stem, "quality": quality, "coded": coded, "exact": exact})
    return rows


def lengths(point: Point) -> dict[str, Any]:
    """Bits per pixel of one setting over all pictures, in all and by level and part."""
    pixels = sum(image.width * image.height for image in point.images)
    known = [image.code_length for image in point.images if image.code_length]
    levels = []
    for group in zip(*(length.levels for length in known), strict=True):
        parts: dict[str, float] = {}
        for level in group:
            for name, bits in level.parts.items():
                parts[name] = parts.get(name, 0.0) + bits / pixels
        levels.append({"written": sum(parts.values()), "parts": parts})
    ideal = sum(length.ideal_bits for length in known)
    file = sum(length.file_bits for length in known)
    return {
        "quality": point.setting,
        "bpp": point.mean("bpp"),
        "ideal": ideal / pixels,
        "theory": sum(length.theory_bits for length in known) / pixels,
        "file": file / pixels,
        "header": sum(length.overhead_bits for length in known) / pixels,
        "file_over_ideal": file / ideal,
        "worst_file_over_ideal": max(one.file_bits / one.ideal_bits for one in known),
        "levels": levels,
    }


def seconds(study: Study) -> dict[str, Any]:
    """Median seconds over all files of each codec, and over those of each setting."""
    found: dict[str, Any] = {}
    for curve in study.curves:
        ways = ("encode", "decode")
        found[curve.codec] = {way: median(curve, f"{way}_seconds") for way in ways}
        for way in ways:
            found[curve.codec][f"{way}_by_setting"] = {
                f"{point.setting:g}": median(_only(curve, point), f"{way}_seconds")
                for point in curve.points
            }
    return found


def _only(curve: Curve, point: Point) -> Curve:
    return Curve(curve.codec, curve.label, curve.description, (point,))


def portability(make: MakeCodec, folder: Path, config: Config) -> Rows:
    """A file written in float32 with several threads, read otherwise: PSNR against the original."""
    ways = [("float32", config["threads"]), ("float32", 1), ("bfloat16", 1), ("float64", 1)]
    writer, readers = make(*ways[0]), [(way, make(*way)) for way in ways]
    rows = []
    for path in list_images(folder):
        if path.stem not in config["portability_images"]:
            continue
        pixels = load_rgb(path)
        data = writer.encode(pixels, quality=config["portability_quality"])
        for (dtype, threads), reader in readers:
            shown = OurCodec(reader).decode(data)
            row = {"image": path.stem, "dtype": dtype, "threads": threads}
            rows.append(row | {"psnr": psnr(pixels, shown)})
    return rows


def targets(found: Mapping[str, Any]) -> Rows:
    """What was aimed at beside what was measured; `met` is None where nothing was.

    Targets 1 to 5 of the codec, then 1 and 3 of the library of coders, which are stricter.
    """
    rows: Rows = []

    def add(number: int, name: str, bound: float, values: Sequence[float], below: bool) -> None:
        usable = [value for value in values if value == value]
        worst = (max(usable) if below else min(usable)) if usable else None
        met = None if worst is None else (worst <= bound if below else worst >= bound)
        target = f"{'at most' if below else 'at least'} {bound:g}"
        row = {"issue": number, "name": name, "target": target}
        rows.append(row | {"ours": worst, "met": met})

    for figure, bound in (("psnr", -30.0), ("ms_ssim_db", -45.0)):
        values = [
            one["bd_rate_of_mean_curve"]
            for one in found["comparisons"]
            if one["reference"] == "jpeg" and one["figure"] == figure
        ]
        add(1, f"BD-rate against JPEG on {QUALITIES[figure]}, %", bound, values, True)
    for row in found["source_image"]:
        name = f"{row['image']} at {row['bpp']} bpp, {QUALITIES[row['figure']]}, dB"
        add(1, name, row["source"], [row["ours"]], False)
    losses = [row["exact"] - row["coded"] for row in found["samples"]]
    add(2, "PSNR lost by the coded draw, worst picture and quality, dB", 0.2, losses, True)
    mean = [sum(losses) / len(losses)] if losses else []
    add(2, "PSNR lost by the coded draw, mean, dB", 0.2, mean, True)
    ratios = [row["file_over_ideal"] for row in found["lengths"] if row["bpp"] >= 0.25]
    add(3, "file / ideal code length from 0.25 bpp, worst quality", 1.25, ratios, True)
    ours = found["seconds"]["laconic"]
    add(4, "encode seconds, median", 5.0, [ours["encode"]], True)
    add(4, "decode seconds, median", 2.0, [ours["decode"]], True)
    for way, bound in (("float32", 0.01), ("float64", 0.01), ("bfloat16", 0.3)):
        gaps = _gaps(found["portability"], way)
        add(5, f"PSNR gap of decoding on 1 thread in {way}, dB", bound, gaps, True)
    add(1, "coder library: PSNR lost by the coded draw, mean, dB", 0.05, mean, True)
    add(1, "coder library: file / ideal from 0.25 bpp, worst quality", 1.05, ratios, True)
    for direction, bound in (("encode", 1.0), ("decode", 0.5)):
        times = ours[f"{direction}_by_setting"]
        at_50 = [times["50"]] if "50" in times else []
        add(3, f"coder library: {direction} seconds at quality 50, median", bound, at_50, True)
    return rows


TASTE_BOUNDS = {
    ("psnr", 0): ("psnr", 0.0),
    ("psnr", 9): ("psnr", -5.0),
    ("ms-ssim", 0): ("ms_ssim_db", -35.0),
}
"""Taste and effort -> figure, and the largest BD-rate against HEVC 4:4:4 in per cent."""


def taste_targets(found: Mapping[str, Any], tune: str | None, effort: int) -> Rows:
    """What was aimed at for a taste, against HEVC 4:4:4 (`heif`)."""
    if (bounds := TASTE_BOUNDS.get((tune or "", effort))) is None:
        return []
    figure, bound = bounds
    values = [
        one["bd_rate_of_mean_curve"]
        for one in found["comparisons"]
        if one["reference"] == "heif" and one["figure"] == figure
    ]
    ours = values[0] if values and values[0] == values[0] else None
    return [
        {
            "name": f"tune {tune}, effort {effort}: BD-rate against HEVC 4:4:4 on "
            f"{QUALITIES[figure]}, %",
            "target": f"at most {bound:g}",
            "ours": ours,
            "met": None if ours is None else ours <= bound,
        }
    ]


def _gaps(rows: Rows, dtype: str) -> list[float]:
    """|PSNR read otherwise - PSNR read as written|, per picture."""
    written: dict[str, float] = {}
    gaps = []
    for row in rows:
        if row["image"] not in written:
            written[row["image"]] = row["psnr"]
        elif row["dtype"] == dtype:
            gaps.append(abs(row["psnr"] - written[row["image"]]))
    return gaps


def draw(study: Study, config: Config, anchors: Path, out: Path) -> None:
    """The figures: mean curves, and the source's picture beside the source's curves."""
    published = load_published(anchors) if anchors.is_dir() else {}
    chosen = {name: published[name] for name in config["published"] if name in published}
    name = config["source_image"]
    has_source = (anchors / "irec-flamich2020.json").is_file()
    source = load_flamich_image(anchors, name) if has_source else {}
    for figure, label in QUALITIES.items():
        title = f"Kodak, mean of {len(study.images)} pictures: {label} (dashed: mean of all 24)"
        sheet = draw_figure(study.curves, figure, title, published=chosen)
        save_figure(sheet, out / f"mean-{figure}")
        if name not in study.images:
            continue
        points = tuple((point["bpp"], point[figure]) for point in config["source_points"])
        marks = {"source, printed": points}
        sheet = draw_figure(
            study.curves, figure, f"{name}: {label}", image=name, published=source, marks=marks
        )
        save_figure(sheet, out / f"{name}-{figure}")


def read_options() -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--data", type=Path, default=data_root(), help="folder that holds kodak/")
    parser.add_argument("--model", default=DEFAULT, help="embedded model, or path of weights")
    parser.add_argument("--tune", choices=tuple(TUNES), help="of models that have taste")
    parser.add_argument("--effort", type=int, default=0)
    parser.add_argument("--anchors-of", type=Path, help="results.json of an earlier run")
    parser.add_argument("--qualities", type=float, nargs="+", help="some of config.json's")
    parser.add_argument("--go-on", action="store_true", help="join what the folder has")
    parser.add_argument("--threads", type=int, help="[default: config.json's]")
    parser.add_argument("--out", type=Path, help="[default: beside this file, by taste]")
    options = parser.parse_args()
    name = options.tune or ""
    if options.effort:
        name = "-".join([*filter(None, [name]), f"effort-{options.effort}"])
    options.out = options.out or HERE / name
    return options


def typed(options: argparse.Namespace) -> str:
    """The command that these options stand for."""
    words = ["python experiments/kodak/run.py"]
    if options.model != DEFAULT:
        words.append(f"--model {Path(options.model).name}")
    if options.tune:
        words.append(f"--tune {options.tune}")
    if options.effort:
        words.append(f"--effort {options.effort}")
    if options.anchors_of:
        words.append(f"--anchors-of {options.anchors_of}")
    if options.threads:
        words.append(f"--threads {options.threads}")
    if options.qualities:
        words.append("--qualities " + " ".join(f"{quality:g}" for quality in options.qualities))
    return " ".join([*words, *["--go-on"] * options.go_on])


def main() -> None:
    """Measure, then write everything."""
    arguments = read_options()
    config = json.loads((HERE / "config.json").read_text(encoding="utf-8"))
    started, folder = time.time(), arguments.data / "kodak"
    make = embedded(arguments.model, arguments.tune, arguments.effort)
    if arguments.qualities:
        config |= {"qualities": arguments.qualities, "sample_qualities": []}
    if arguments.threads:
        config |= {"threads": arguments.threads}
    earlier = arguments.anchors_of
    known = earlier_anchors(earlier, config) if earlier else {}
    before = arguments.out / "results.json" if arguments.go_on else None
    study, found = measure_all(make, folder, config, known, before)
    found["targets"] += taste_targets(found, arguments.tune, arguments.effort)
    run = describe_run(
        typed(arguments),
        started,
        REPOSITORY,
        seeds={"exact draws": config["sample_seed"], "shared randomness": 0},
        threads=config["threads"],
    )
    title = "The lossy image codec on Kodak 1-16"
    if arguments.tune:
        title += f": {Path(arguments.model).name}, tune {arguments.tune}"
    if arguments.effort:
        title += f", effort {arguments.effort}"
    head = {"title": title, "run": run, "config": config}
    document = finite(head | found | {"study": study_to_json(study)})
    arguments.out.mkdir(parents=True, exist_ok=True)
    text = json.dumps(document, indent=1, allow_nan=False) + "\n"
    write_atomically(arguments.out / "results.json", text.encode("utf-8"))
    draw(study, config, arguments.data / "anchors" / "kodak-rd", arguments.out)
    if not arguments.effort:  # A gallery is as much work as another quality.
        codec, names = OurCodec(make("float32", config["threads"])), ("jpeg", "webp")
        setting = setting_near(study.curves[0], 0.5)
        gallery = make_gallery(codec, setting, folder, find_anchors(names))
        page = render_page(study, gallery)
        write_atomically(arguments.out / "page.html", page.encode("utf-8"))
    for row in document["targets"]:
        print(row)


if __name__ == "__main__":
    main()
