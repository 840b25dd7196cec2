"""The style of families on the rate-distortion plane: a colour, a marker and a filling each."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from laconic.evaluation.plane.points import FAMILY


@dataclass(frozen=True)
class Theme:
    """Colours of a figure.

    Attributes:
        paper: the background.
        ink: text, axes and the frontier.
        soft: the hull and the isolines.
        line: the grid.
        families: by decoder and marginal, e.g. "-v"; cold for weak decoders, warm for strong ones.
        others: colours for models without a family.
    """

    paper: str
    ink: str
    soft: str
    line: str
    families: dict[str, str]
    others: tuple[str, ...]


LIGHT = Theme(
    paper="#ffffff",
    ink="#1c1d21",
    soft="#8a8d96",
    line="#e4e4df",
    families={
        "--": "#0b62c4", "-+": "#0e8f8a", "-v": "#6d4aff",
        "++": "#d01f3c", "+-": "#d97706", "+v": "#b3179b",
    },
    others=("#5b6470", "#7a5c00", "#2f6b2f"),
)  # fmt: skip
"""For light pages and for paper."""

DARK = Theme(
    paper="#1b1d23",
    ink="#ececf0",
    soft="#8d919c",
    line="#31343d",
    families={
        "--": "#6db1ff", "-+": "#4fd6c9", "-v": "#b3a0ff",
        "++": "#ff6b7f", "+-": "#ffb04d", "+v": "#f08be0",
    },
    others=("#a9b1be", "#e5c94f", "#8fd68f"),
)  # fmt: skip
"""For dark pages."""

MARKERS = {"-": "o", "+": "s", "v": "^"}
"""By marginal."""

OTHER_MARKERS = ("D", "P", "X", "p", "h")
"""Markers for models without a family, one after the other."""


def sort_families(families: Sequence[str]) -> list[str]:
    """Distinct families: weak decoders first, then strong ones, then models without a family."""

    def order(family: str) -> tuple[Any, ...]:
        match = FAMILY.fullmatch(family)
        ranks = (
            tuple("-+v".index(match[p]) for p in ("decoder", "marginal", "encoder"))
            if match
            else ()
        )
        return (not match, ranks, family)

    return sorted(set(families), key=order)


def family_styles(families: Sequence[str], theme: Theme) -> dict[str, dict[str, Any]]:
    """Matplotlib's keywords by family: colour by decoder and marginal, hollow for weak encoders."""
    styles: dict[str, dict[str, Any]] = {}
    others = 0
    for family in sort_families(families):
        if match := FAMILY.fullmatch(family):
            colour = theme.families[match["decoder"] + match["marginal"]]
            marker, hollow = MARKERS[match["marginal"]], match["encoder"] == "-"
        else:
            colour = theme.others[others % len(theme.others)]
            marker, hollow = OTHER_MARKERS[others % len(OTHER_MARKERS)], False
            others += 1
        styles[family] = {
            "marker": marker,
            "markeredgecolor": colour,
            "markerfacecolor": theme.paper if hollow else colour,
        }
    return styles
