"""Tables and figures of finished runs of systems over noisy channels."""

import json
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import numpy as np

from laconic.errors import InputError, MissingPackageError
from laconic.evaluation.plane.points import RESULT
from laconic.evaluation.report.figures import COLOURS, figure_paths, save_figure
from laconic.evaluation.report.markdown import markdown_table

if TYPE_CHECKING:
    from matplotlib.figure import Figure

FORMAT: Final = "laconic channels 1"
"""First entry of the results that are read."""

Result = Mapping[str, Any]


def read_runs(folders: Sequence[Path]) -> list[dict[str, Any]]:
    """All results below some folders, in the order of their paths.

    Raises:
        InputError: a folder holds no finished run of this kind, or a file cannot be read.
    """
    found = []
    for folder in folders:
        paths = sorted(folder.rglob(RESULT)) if folder.is_dir() else []
        results = [_read(path) for path in paths]
        kept = [one for one in results if one.get("format") == FORMAT]
        if not kept:
            raise InputError(f"{folder}: no finished run of a recipe of kind 'channels' is here")
        found += kept
    return found


def _read(path: Path) -> dict[str, Any]:
    try:
        value = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise InputError(f"{path}: not a readable result ({error}); remove it") from error
    if not isinstance(value, dict):
        raise InputError(f"{path}: not a result; remove it")
    return value


def system_name(result: Result) -> str:
    """Of a run's system, in words: "joint", or of bands their prior and auxiliary latents."""
    system = result["system"]
    if system["name"] == "pair":
        return str(system["kind"])
    latents = " with auxiliary latents" if system["auxiliary"] else ""
    return f"bands, {system['prior']} prior{latents}"


def table(results: Sequence[Result]) -> str:
    """A line for every run and bandwidth."""
    rows = []
    for one in results:
        for bands, measured in one["distortion"].items():
            rows.append(
                [
                    one["data"],
                    system_name(one),
                    f"{one['channel'].get('snr_db', float('nan')):g}",
                    f"{one['system']['beta']:g}",
                    "-" if bands == "0" else bands,
                    str(one["seed"]),
                    f"{one['uses']} x {one['capacity_bits_per_use']:.3f}",
                    f"{1000 * measured['mse']:.3f} ± {1000 * measured['mse_error']:.3f}",
                    f"{measured['psnr_db']:.2f}",
                ]
            )
    head = (
        "data",
        "system",
        "SNR, dB",
        "beta",
        "bands",
        "seed",
        "uses x bits",
        "1000 MSE",
        "PSNR, dB",
    )
    return markdown_table(head, rows, 2)


def chosen(results: Sequence[Result]) -> list[Result]:
    """Of runs that differ in beta alone the one with the least error on validation images.

    Runs without validation images are judged by their test images, which a report must say.
    """
    best: dict[tuple[Any, ...], Result] = {}
    for one in results:
        key = (one["data"], system_name(one), one["channel"].get("snr_db"), one["seed"])
        if key not in best or _score(one) < _score(best[key]):
            best[key] = one
    return list(best.values())


def _score(result: Result) -> float:
    curves = result.get("validation") or result["distortion"]
    return float(np.mean([measured["mse"] for measured in curves.values()]))


def linear_fit(result: Result) -> dict[str, float]:
    """Distortion against bandwidth as a line: slope, intercept, R^2.

    Source: Ullrich figure 6.5 (the distortion falls nearly linearly).
    """
    bands = np.array([float(name) for name in result["distortion"]])
    errors = np.array([one["mse"] for one in result["distortion"].values()])
    slope, start = np.polyfit(bands, errors, 1)
    rest = errors - (slope * bands + start)
    spread = ((errors - errors.mean()) ** 2).sum()
    return {
        "slope": float(slope),
        "intercept": float(start),
        "r_squared": float(1 - (rest**2).sum() / spread) if spread else 0.0,
    }


def write_figures(
    results: Sequence[Result], folder: Path, check: Callable[[Path], None]
) -> list[Path]:
    """Distortion against the channel's ratio, and against bands; PNG and SVG.

    Args:
        results: of `read_runs`.
        folder: made if it is missing.
        check: raises for a path that must not be written.
    """
    picked = chosen(results)
    pairs = [one for one in picked if one["system"]["name"] == "pair"]
    bands = [one for one in picked if one["system"]["name"] == "bands"]
    plans = []
    for data in sorted({str(one["data"]) for one in pairs}):
        own = [one for one in pairs if one["data"] == data]
        plans.append((folder / f"{data}-ratio", draw_ratio(own, data)))
    for data in sorted({str(one["data"]) for one in bands}):
        own = [one for one in bands if one["data"] == data]
        plans.append((folder / f"{data}-bandwidth", draw_bandwidth(own, data)))
    written: list[Path] = []
    for stem, sheet in plans:
        for path in figure_paths(stem):
            check(path)
        written += save_figure(sheet, stem)
    return written


def draw_pictures(grids: Mapping[str, Any]) -> "Figure":
    """Pictures as sent, in the first row, and as received, one row for each bandwidth.

    Source: Ullrich figure 9.16.

    Args:
        grids: of a run's `grids.npz`: "sent" and "received-B", uint8 `(count, channels, h, w)`.
    """
    names = ["sent", *sorted((n for n in grids if n != "sent"), key=lambda n: int(n.split("-")[1]))]
    sheet, axes = _sheet("sent, and received at every bandwidth", "")
    rows = [
        np.concatenate(list(np.asarray(grids[name]).transpose(0, 2, 3, 1)), 1) for name in names
    ]
    pixels = np.concatenate(rows, 0)
    axes.imshow(pixels.squeeze(), cmap="gray", vmin=0, vmax=255, interpolation="nearest")
    axes.set_axis_off()
    return sheet


def draw_ratio(results: Sequence[Result], title: str) -> "Figure":
    """Mean squared error against the signal-to-noise ratio, a curve for each system."""
    sheet, axes = _sheet(title, "signal-to-noise ratio, dB")
    for index, name in enumerate(sorted({system_name(one) for one in results})):
        own = [one for one in results if system_name(one) == name]
        ratios = sorted({one["channel"]["snr_db"] for one in own})
        means = [
            np.mean([o["distortion"]["0"]["mse"] for o in own if o["channel"]["snr_db"] == ratio])
            for ratio in ratios
        ]
        axes.plot(ratios, means, "o-", color=COLOURS[index], label=name)
    axes.legend(frameon=False)
    return sheet


def draw_bandwidth(results: Sequence[Result], title: str) -> "Figure":
    """Mean squared error against the number of bands that pass, a curve for each system."""
    sheet, axes = _sheet(title, "bands that pass")
    for index, name in enumerate(sorted({system_name(one) for one in results})):
        own = [one["distortion"] for one in results if system_name(one) == name]
        counts = [int(key) for key in own[0]]
        means = [np.mean([one[str(count)]["mse"] for one in own]) for count in counts]
        axes.plot(counts, means, "o-", color=COLOURS[index], label=name)
    axes.legend(frameon=False)
    return sheet


def _sheet(title: str, across: str) -> tuple["Figure", Any]:
    try:
        from matplotlib.figure import Figure
    except ImportError as error:
        raise MissingPackageError("figures need", "matplotlib", "eval") from error
    sheet = Figure(figsize=(6.4, 4.4), layout="constrained")
    axes = sheet.add_subplot()
    axes.set_title(title)
    axes.set_xlabel(across)
    axes.set_ylabel("mean squared error, samples in [0, 1]")
    axes.grid(alpha=0.3)
    return sheet, axes
