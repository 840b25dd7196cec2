"""Bits per bit of KL over KL per dimension, one line per relative entropy coder."""

from collections.abc import Mapping
from typing import Any

from laconic.errors import MissingPackageError
from laconic.evaluation.report.figures import COLOURS, render_svg

STYLES = ("-", "--", ":")
"""After this many lines the colours repeat, and the lines are dashed."""


def draw_coder_chart(coders: Mapping[str, Mapping[str, Any]]) -> bytes:
    """The chart as an SVG file; the same numbers give the same bytes.

    Args:
        coders: by name, each with the rows of `coders.measures.over_kl` under "kl".

    Raises:
        MissingPackageError: matplotlib is not installed.
    """
    try:
        from matplotlib.figure import Figure
    except ImportError as error:
        raise MissingPackageError("figures need", "matplotlib", "eval") from error
    sheet = Figure(figsize=(7.2, 4.8), layout="constrained")
    axes = sheet.add_subplot()
    for index, (name, found) in enumerate(coders.items()):
        style = STYLES[index // len(COLOURS) % len(STYLES)]
        points = [
            (r["kl_per_dim"], r["bits_per_kl"]) for r in found.get("kl", []) if "skipped" not in r
        ]
        if points:
            colour = COLOURS[index % len(COLOURS)]
            axes.plot(*zip(*points, strict=True), f"o{style}", color=colour, label=name, ms=3.5)
    axes.axhline(1, color="black", linewidth=0.8)
    axes.set(xscale="log", yscale="log", xlabel="KL per dimension, bits")
    axes.set_ylabel("bits written per bit of KL")
    axes.set_title("Relative entropy coders on homogeneous latents")
    axes.grid(alpha=0.3, which="both")
    if axes.get_legend_handles_labels()[0]:
        axes.legend(frameon=False, fontsize="small", ncols=2)
    return render_svg(sheet)
