"""The benchmark of relative entropy coders: its sources, its rows, what it skips."""

from pathlib import Path

import numpy as np
import pytest

from laconic.codecs.image.codec import ImageCodec
from laconic.coding.relative_entropy import CODERS
from laconic.evaluation.coders import measures as coders
from laconic.evaluation.coders.chart import draw_coder_chart
from laconic.evaluation.coders.measures import Plan
from laconic.models.base import LatentVariableModel

SMALL = Plan((0.1, 1.0), 4, (4, 8), 2, (0.3,), 2, 2, (50,), 60.0)


@pytest.mark.parametrize("kl", [0.1, 1.0, 4.0])
def test_homogeneous_latents_have_the_kl_that_was_requested(kl: float) -> None:
    level = coders.homogeneous_level(kl, 64)
    row = coders.measure_message(CODERS["greedy"](), level)
    # The KL per dimension has variance (1 - 4^-kl)² / (2 ln² 2): below 1.05.
    assert row["kl_per_dim"] == pytest.approx(kl, abs=4 * np.sqrt(1.05 / row["dims"]))


def test_the_ladder_level_is_smoothed_like_scipys() -> None:
    ndimage = pytest.importorskip("scipy.ndimage")
    fields = np.random.default_rng(0).normal(size=(2, 32, 48))
    wanted = ndimage.gaussian_filter(fields, (0, 2.5, 2.5))
    assert coders._smooth(fields, 2.5) == pytest.approx(wanted)


def test_exact_draws_lose_nothing() -> None:
    row = coders.measure_message(CODERS["rejection"](), coders.ladder_level(0.3, 32))
    assert abs(row["bias"]) < 4 * np.sqrt(2 / row["dims"])
    assert abs(row["loss_db"]) < 0.1
    assert row["round_trip"]
    assert sum(row["parts_per_kl"].values()) == pytest.approx(row["bits_per_kl"], rel=0.01)
    assert row["encode_us_per_dim"] == pytest.approx(1e6 * row["encode_seconds"] / row["dims"])


def test_every_section_has_its_rows() -> None:
    said: list[str] = []
    found = coders.measure_coder("importance", SMALL, say=said.append)
    assert [row["wanted_kl_per_dim"] for row in found["kl"]] == [0.1, 1.0]
    blocks = [(row["config"]["budget"], row["config"]["index_bits"]) for row in found["blocks"]]
    assert blocks == [(4, 6), (8, 10)]
    assert [row["gain"] for row in found["ladder"]] == [0.3]
    assert len(said) == 5
    assert "pictures" not in found


def test_the_trellis_is_measured_at_every_register() -> None:
    rows = list(coders.over_ladder(CODERS["trellis"](), SMALL))
    assert [row["config"]["state_bits"] for row in rows] == [15, *coders.REGISTERS]


@pytest.mark.parametrize("name", ["rejection", "greedy", "trellis"])
def test_coders_without_blocks(name: str) -> None:
    assert list(coders.over_blocks(CODERS[name](), SMALL)) == []


def test_what_is_too_slow_or_impossible_is_said() -> None:
    slow = Plan((0.1,), 64, (4, 8, 24), 64, (0.3,), 64, limit_seconds=1e-9)
    rows = coders.measure_coder("importance", slow)
    for section in ("kl", "blocks", "ladder"):
        assert all("skipped" in row for row in rows[section])
    reasons = [row["skipped"] for row in rows["blocks"]]
    assert "s expected, limit" in reasons[0]
    assert "smaller blocks were skipped" in reasons[1]
    assert "budget = 24" in reasons[2] or "index_bits = 26" in reasons[2]
    assert all("skipped: " in coders.summarise("x", "kl", row) for row in rows["kl"])


def test_real_posteriors(folder: Path, tiny_model: LatentVariableModel) -> None:
    def make(name: str) -> ImageCodec:
        return ImageCodec(tiny_model, "tiny", bytes(16), coder=name)

    pictures = sorted(folder.glob("*.png"))
    found = coders.measure_coder("greedy", SMALL, pictures, make)["pictures"]
    assert [row["image"] for row in found] == ["tall", "wide"]
    for row in found:
        assert row["bits_per_kl"] > 1
        assert row["loss_db"] == row["exact_psnr"] - row["psnr"]
    slow = Plan(pictures=1, qualities=(50,), limit_seconds=1e-9)
    assert "skipped" in next(coders.over_pictures(make, "greedy", pictures, slow))


def test_the_chart_is_the_same_every_time(tmp_path: Path) -> None:
    pytest.importorskip("matplotlib")
    rows = [{"kl_per_dim": 0.1, "bits_per_kl": 3.0}, {"skipped": "too slow"}]
    found = {f"coder{i}": {"kl": rows} for i in range(11)} | {"none": {"kl": rows[1:]}}
    for name in ("a.svg", "b.svg"):
        (tmp_path / name).write_bytes(draw_coder_chart(found))
    text = (tmp_path / "a.svg").read_text()
    assert (tmp_path / "b.svg").read_text() == text
    assert "coder10" in text
    assert ">none<" not in text
