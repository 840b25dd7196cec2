"""docs/results.md and the README's numbers come from results.json files."""

import importlib.util
import json
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest


@pytest.fixture(scope="module")
def report(repository: Path) -> ModuleType:
    spec = importlib.util.spec_from_file_location("report", repository / "experiments/report.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture
def document() -> dict[str, Any]:
    target = {"issue": 1, "name": "BD-rate", "target": "at most -30", "ours": -12.345, "met": False}
    comparison = {
        "reference": "jpeg", "figure": "psnr", "rate_range": [0.15, 1.0], "images_counted": 16,
        "bd_rate_of_mean_curve": -12.345, "mean_of_image_bd_rates": None,
        "bd_quality_of_mean_curve": 0.5,
    }  # fmt: skip
    level = {"written": 0.5, "parts": {"indices": 0.5}}
    length = {
        "quality": 50, "ideal": 0.4, "theory": 0.45, "file": 0.51, "header": 0.01,
        "file_over_ideal": 1.275, "levels": [level],
    }  # fmt: skip
    run = {"command": "python x", "commit": "abc", "machine": "a box", "wall_seconds": 3.0}
    lists = {"targets": [target], "comparisons": [comparison], "lengths": [length]}
    return {"title": "On Kodak", "run": run} | lists


def test_a_page_from_results(report: ModuleType, document: dict[str, Any], tmp_path: Path) -> None:
    folder = tmp_path / "experiments" / "kodak"
    folder.mkdir(parents=True)
    (folder / "results.json").write_text(json.dumps(document))
    (folder / "mean.svg").write_text("<svg/>")
    (folder / "psnr").mkdir()
    (folder / "psnr" / "results.json").write_text(json.dumps(document))
    found = report.find_results(tmp_path)
    page = report.results_page(found, tmp_path)
    for text in (
        "## On Kodak",
        "| BD-rate | at most -30 | -12.345 | **no** |",
        "| jpeg | PSNR | -12.3 | – | 16 | 0.50 |",
        "| 50 | 0.4000 | 0.4500 | 0.5100 | 0.0100 | 1.275 |",
        "| 50 | 0.5000 |",
        "![mean](../experiments/kodak/mean.svg)",
        "commit: `abc`",
    ):
        assert text in page
    readme = report.readme_numbers(found)
    assert "| -12 % against JPEG | JPEG: Laconic takes -12 % against it |" in readme


def test_nothing_measured(report: ModuleType, tmp_path: Path) -> None:
    assert report.find_results(tmp_path) == {}
    assert "Nothing has been measured yet." in report.results_page({}, tmp_path)


def test_only_the_marked_part_of_the_readme_changes(report: ModuleType) -> None:
    before = f"# Title\n{report.BEGIN}\nold\n{report.END}\nrest\n"
    after = report.with_numbers(before, "new\n")
    assert after == f"# Title\n{report.BEGIN}\nnew\n{report.END}\nrest\n"
    assert report.with_numbers(after, "new\n") == after


def test_other_results_files_are_shown_too(report: ModuleType, tmp_path: Path) -> None:
    """Benchmarks may keep their facts at the top level."""
    plain = {"command": "python y", "commit": "def"}
    page = report.results_page({Path("benchmarks/rec/results.json"): plain}, tmp_path)
    assert "## rec" in page
    assert "commit: `def`" in page


def test_coders_by_section(report: ModuleType) -> None:
    row = {"bits_per_kl": 1.25, "ideal_bits": 2000.0, "loss_db": 0.125, "bias": 0.0625}
    times = {"proposals_per_dim": 8.0, "encode_seconds": 1.5, "decode_seconds": 0.5}
    config = {"config": {"state_bits": 14}}
    picture = {"quality": 50, "psnr": 30.0, "exact_psnr": 30.25}
    late = config | {"skipped": "90 s expected, limit 60 s"}
    found = {
        "exact": False,
        "kl": [{"wanted_kl_per_dim": 0.1} | row, {"wanted_kl_per_dim": 8.0} | late],
        "blocks": [],
        "ladder": [{"gain": 0.3} | config | row | times, {"gain": 1.0} | late],
        "pictures": [picture | row | times, picture | late],
    }
    document = {"title": "Coders", "coders": {"mine": found}}
    page = report.results_page({Path("benchmarks/rec/results.json"): document}, Path())
    for text in (
        "| coder | exact | 0.1 | 8.0 |",
        "| mine | no | 1.250 | skipped |",
        "| mine | 14 | 0.3 | 2.0 | 1.250 | 0.125 | 0.062 | 8.000 | 1.500 | 0.500 |",
        "| mine | 14 | 1.0 | 90 s expected, limit 60 s | – | – | – | – | – | – |",
        "| mine | 50 | 1 | 1 | 1.250 | 30.000 | 30.250 | 0.125 | 1.500 | 0.500 |",
    ):
        assert text in page
    assert "KL per block" not in page


def test_codes_of_labels_and_other_sets_have_tables(report: ModuleType, tmp_path: Path) -> None:
    code = {
        "code": "prequential", "labels": 10000, "network_bytes": 0, "labels_bytes": 689,
        "header_bytes": 59, "file_bytes": 748, "ratio": 5.551, "encode_seconds": 6.8,
        "decode_seconds": 7.5,
    }  # fmt: skip
    sets = {"uniform": {"auroc_percent": 99.9}, "omniglot": {"auroc_percent": 91.25}}
    row = {
        "recipe": "fnp", "seed": 0, "epochs": 1, "samples": 20, "count": 2000,
        "error_percent": 2.5, "entropy_nats": 0.1, "outlier_entropy_nats": 1.5,
        "auroc_percent": 95.575, "sets": sets,
    }  # fmt: skip
    toy = {"task": "gaps", "model": "GP", "rmse": 0.1, "log_likelihood_nats": 0.5}
    run = {"command": "python x"}
    found = {Path("a/results.json"): {"run": run, "codes": [code], "detection": [row],
                                      "toys": [toy]}}  # fmt: skip
    page = report.results_page(found, tmp_path)
    assert "| prequential | 10,000 | 0 | 689 | 59 | 748 | 5.55 | 7 | 8 |" in page
    assert "| fnp | 0 | 1 | 20 | 2,000 | 2.50 | 0.100 | 1.50 | 95.58 | omniglot 91.25 |" in page
    assert "| gaps | GP | 0.100 | 0.50 |" in page
