"""The report: a page that stands alone, and the files beside it."""

import csv
import re
from collections.abc import Callable
from html.parser import HTMLParser
from pathlib import Path

import numpy as np
import pytest

from laconic.errors import InputError
from laconic.evaluation.plane.report import write_report

Write = Callable[..., Path]

VOID = {"meta", "img", "br", "source", "hr", "input", "link"}


class Reader(HTMLParser):
    """Collects what is unbalanced, unreachable or without a name for those who cannot see it."""

    def __init__(self) -> None:
        super().__init__()
        self.open: list[str] = []
        self.problems: list[str] = []
        self.tags: list[str] = []
        self.addresses: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        given = dict(attrs)
        self.tags.append(tag)
        self.addresses += [given[k] or "" for k in ("src", "href", "srcset") if k in given]
        if tag == "img" and not given.get("alt"):
            self.problems.append("an image without words")
        if tag == "th" and given.get("scope") not in ("row", "col"):
            self.problems.append("a heading of nothing")
        if tag not in VOID:
            self.open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        if not self.open or self.open.pop() != tag:
            self.problems.append(f"</{tag}> closes nothing")


def read(page: Path) -> tuple[Reader, str]:
    text = page.read_text(encoding="utf-8")
    reader = Reader()
    reader.feed(text)
    reader.close()
    assert reader.problems == []
    assert reader.open == []
    assert all(address.startswith("data:") for address in reader.addresses)
    assert "default-src 'none'" in text
    plain = re.sub(r"base64,[^\"]*", "", text)
    assert not re.search(r"https?://", plain)
    assert not re.search(r"\bnan\b|\bNone\b|\$[a-z]", plain)
    assert "prefers-color-scheme:dark" in plain
    return reader, plain


def test_two_data_sets_with_everything(write_run: Write, tmp_path: Path) -> None:
    measures = {
        "iwae_nats": {"value": 78.25, "error": 0.2, "draws": 50},
        "information_nats": {"lower": 18.125, "upper": 19.5},
        "generative_lower_nats": {"value": 17.0},
        "generative_upper_nats": {"value": 21.0, "error": 0.5},
    }
    files = {"bits_back": {"bits_per_image": 120.0, "ideal_bits_per_image": 119.0, "images": 1000}}
    file = write_run("---", 1.0, 20.0, 62.0, measures=measures, files=files, grids="grids.npz")
    shape = (2, 5, 4, 4)
    arrays = {name: np.zeros(shape, np.uint8) for name in ("reconstructions", "generations")}
    np.savez(file.with_name("grids.npz"), inputs=np.zeros((2, 4, 4), np.uint8), **arrays)
    write_run("-+v", 2.0, 0.001, 81.0, annealed=True)
    write_run("-+v", 1.0, 8.0, 73.0, annealed=True)
    write_run("<b>&", 1.0, 3.0, 90.0, data="omni glot/28", measures={"distortion_nats": None})
    written = write_report([tmp_path / "runs"], tmp_path / "out", "A <title>")
    stems = ["plane", "skew", "skew_log", "----_reconstructions", "----_generations"]
    names = {f"binary-mnist_{s.replace('----', '---')}.{e}" for s in stems for e in ("png", "svg")}
    assert {path.name for path in written} == names | {"report.html", "points.csv"}
    assert all(path.stat().st_size > 100 for path in written)
    reader, text = read(written[0])
    assert "A &lt;title&gt;" in text
    assert "<b>" not in text
    assert reader.tags.count("img") == 5
    assert reader.tags.count("source") == 5
    assert text.count("<h2>") == 2
    sandwich = ("16.25", "18.12", "19.50")  # the IWAE bound stands for H: 78.25 - 62
    for fact in (*sandwich, "k = 50", "120.00", "+0.84", "✓ holds", "? not measured"):
        assert fact in text, fact
    with (tmp_path / "out" / "points.csv").open() as lines:
        rows = {row["name"]: row for row in csv.DictReader(lines)}
    assert rows["--- beta 1"]["iwae_nats_draws"] == "50"
    assert float(rows["--- beta 1"]["bits_back_bits"]) == 120
    assert rows["-+v beta 2"]["iwae_nats"] == ""
    assert rows["<b>& beta 1"]["distortion_nats"] == ""
    assert [row["on_frontier"] for row in rows.values()] == ["True", "True", "True", "False"]


def test_densities_have_a_plane_of_their_own(write_run: Write, tmp_path: Path) -> None:
    """No claims of the source, no entropy; the lossless model of the same data is apart."""
    for beta, rate, distortion in ((0.01, 300.0, -10_000.0), (0.001, 3000.0, -20_000.0)):
        write_run("default", beta, rate, distortion, data="kodak", density=True)
    write_run("pixels", 1.0, 0.0, 27_000.0, data="kodak", density=False)
    ticks: list[tuple[int, int]] = []
    written = write_report(
        [tmp_path], tmp_path / "out", progress=lambda done, total: ticks.append((done, total))
    )
    _, text = read(written[0])
    lossless, dense = text.split("<section>")[1:]
    assert "<h2>kodak</h2>" in lossless
    assert "<h2>kodak, densities</h2>" in dense
    assert "Claims of the source" in lossless
    assert "densities of pixels" in dense
    for absent in ("Claims of the source", "claims that hold", "H − D, at most", "entropy H is"):
        assert absent not in dense
    assert ticks == [(done, 4) for done in range(1, 5)]
    names = {path.name for path in written}
    assert {"kodak_plane.png", "kodak-densities_plane.png"} <= names


def test_a_single_run_with_nothing_but_its_place(write_run: Write, tmp_path: Path) -> None:
    written = write_report([write_run("dense", 1.0, 20.0, 62.0)], tmp_path / "out")
    reader, text = read(written[0])
    assert reader.tags.count("img") == 2
    for absent in ("Ideal against file", "Samples", ">AIS<", ">IWAE<", "aggregate gap<"):
        assert absent not in text
    assert "1 run of 1 model family" in text


def test_no_run_is_an_error_before_anything_is_written(tmp_path: Path) -> None:
    for runs in ([], [tmp_path]):
        with pytest.raises(InputError, match="laconic rd run"):
            write_report(runs, tmp_path / "out")
    assert not (tmp_path / "out").exists()
