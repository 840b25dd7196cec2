"""Figures as PNG and SVG."""

from pathlib import Path

import pytest
from PIL import Image

from laconic.evaluation.anchors.published import PublishedCurve
from laconic.evaluation.images.results import Study
from laconic.evaluation.report.figures import draw_figure, save_figure


@pytest.mark.parametrize("image", [None, "wide"])
def test_png_and_svg(study: Study, tmp_path: Path, image: str | None) -> None:
    line = ((0.2, 25.0), (0.6, 28.0))
    published = {"paper": PublishedCurve("A paper", "somewhere", line, line)}
    marks = {"a goal": ((0.5, 30.0),)}

    def draw(stem: str) -> list[Path]:
        sheet = draw_figure(
            study.curves, "psnr", "Title", image=image, published=published, marks=marks, max_bpp=6
        )
        return save_figure(sheet, tmp_path / stem)

    png, svg = draw("a/b.1")
    assert (png.name, svg.name) == ("b.1.png", "b.1.svg")
    with Image.open(png) as picture:
        assert picture.size == (1152, 768)
    text = svg.read_text()
    for label in ("Rounding", "JPEG", "A paper", "a goal", "Title"):
        assert label in text
    for first, second in zip((png, svg), draw("again"), strict=True):
        assert first.read_bytes() == second.read_bytes()


def test_the_axis_fits_the_points(study: Study) -> None:
    (axes,) = draw_figure(study.curves, "psnr", "t", max_bpp=8).axes
    low, high = axes.get_ylim()
    values = [
        v for c in study.curves for p in c.points for v in [p.mean("psnr")] if p.mean("bpp") <= 8
    ]
    assert low < min(values)
    assert max(values) < high
    assert len(axes.get_lines()) == len(study.curves)
