"""`shrink` and `expand`: weights there and back, requests that make no sense, other files."""

import json
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file
from typer.testing import CliRunner, Result

from laconic.cli import app
from laconic.models.sliced.ladder import SlicedLadder
from laconic.pretrained import Pretrained


def run(*arguments: object) -> Result:
    return CliRunner().invoke(app, [str(argument) for argument in arguments])


@pytest.fixture
def weights(tmp_path: Path) -> Path:
    torch.manual_seed(0)
    tensors = {"a.weight": torch.randn(50, 60), "a.bias": torch.randn(50), "none": torch.zeros(0)}
    save_file(tensors, tmp_path / "net.safetensors", metadata={"format": "pt"})
    return tmp_path / "net.safetensors"


def test_there_and_back(weights: Path) -> None:
    result = run("shrink", weights, "--tolerance", 0.1, "--tolerance", "a.*=0.02")
    assert (result.exit_code, result.stderr) == (0, "")
    packed = weights.with_suffix(".lac")
    assert packed.stat().st_size < weights.stat().st_size / 4
    back = weights.parent / "back.safetensors"
    assert run("expand", packed, "-o", back).exit_code == 0
    before, after = load_file(weights), load_file(back)
    assert torch.equal(before["a.bias"], after["a.bias"])
    error = (after["a.weight"] - before["a.weight"]).norm() / before["a.weight"].norm()
    assert 0.01 < float(error) <= 0.02


def test_lossless_is_byte_for_byte(weights: Path) -> None:
    assert run("shrink", weights, "--lossless", "-o", weights.parent / "x.lac").exit_code == 0
    result = run("expand", weights.parent / "x.lac", "--json")
    assert json.loads(result.stdout)["tensors"] == 3
    assert (weights.parent / "x.safetensors").read_bytes() == weights.read_bytes()


def test_codebooks(weights: Path) -> None:
    assert run("shrink", weights, "--codebook", 8).exit_code == 0
    assert run("expand", weights.with_suffix(".lac"), "-o", weights.parent / "x").exit_code == 0
    before, after = load_file(weights), load_file(weights.parent / "x")
    assert len(after["a.weight"].unique()) == 8
    assert torch.equal(before["a.bias"], after["a.bias"])


def test_json_and_info(weights: Path) -> None:
    packed = weights.with_suffix(".lac")
    found = json.loads(run("shrink", weights, "--bits-per-weight", 6, "--json").stdout)
    assert found["output_bytes"] == packed.stat().st_size
    values = json.loads(run("info", packed, "--json").stdout)
    assert values["codec"] == "network"
    assert values["bits_per_number"] <= 6
    text = run("info", packed).stdout
    assert "a.weight" in text
    assert "50x60" in text


@pytest.mark.parametrize(
    ("arguments", "status", "said"),
    [
        (["--tolerance", "0.1", "--lossless"], 2, "one of"),
        (["--codebook", "8", "--lossless"], 2, "one of"),
        (["--codebook", "300"], 1, "from 1 to 255"),
        (["--tolerance", "many"], 2, "not a number"),
        (["--tolerance", "2"], 1, "tolerance is 2"),
        (["--tolerance", "b.*=0.1"], 1, "b.*"),
        (["--bits-per-weight", "0.01"], 1, "is the least"),
    ],
)
def test_requests_that_make_no_sense(
    weights: Path, arguments: list[str], status: int, said: str
) -> None:
    result = run("shrink", weights, *arguments)
    assert result.exit_code == status
    assert said in result.stderr
    assert not weights.with_suffix(".lac").exists()


@pytest.mark.slow
def test_bench_network_measures_the_codec(
    small_ladder: Callable[[], SlicedLadder], monkeypatch: pytest.MonkeyPatch
) -> None:
    fake = Pretrained(small_ladder(), "small", b"", 1)
    monkeypatch.setattr("laconic.pretrained.load", lambda name="default": fake)
    found = json.loads(run("bench", "network", "--repeats", 1).stdout)
    shares = [point["share"] for point in found["points"]]
    assert shares == sorted(shares, reverse=True)
    assert all(point["encode_seconds"] > 0 for point in found["points"])


def test_other_files_are_named(weights: Path, tmp_path: Path) -> None:
    text = tmp_path / "notes.txt"
    text.write_text("no weights")
    for command in ("shrink", "expand"):
        result = run(command, text)
        assert result.exit_code == 1
        assert "notes.txt" in result.stderr
        assert result.stderr.count("\n") == 1
    run("shrink", weights)
    packed = weights.with_suffix(".lac")
    packed.write_bytes(packed.read_bytes()[:-1])
    result = run("expand", packed, "-o", tmp_path / "new.safetensors")
    assert result.exit_code == 1
    assert "truncated" in result.stderr
    assert not (tmp_path / "new.safetensors").exists()
    assert run("decompress", packed).exit_code == 1
