"""Maps from the command line: compress, decompress, info, and what is refused in one line."""

import json
from pathlib import Path

import numpy as np
import pytest
from typer.testing import CliRunner

from laconic.cli import app
from laconic.data.microscopy.maps import map_bytes, read_map


def run(*arguments: object, status: int = 0) -> str:
    result = CliRunner().invoke(app, [str(argument) for argument in arguments])
    assert result.exit_code == status, result.output
    return result.output


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A map, its variance, two half maps."""
    rng, n = np.random.default_rng(0), 14
    z, y, x = np.mgrid[:n, :n, :n] - n // 2
    truth = np.exp(-(z**2 + (y - 1) ** 2 + 2 * x**2) / 8)
    halves = [truth + 0.1 * rng.normal(size=truth.shape) for _ in range(2)]
    volumes = {"map": (halves[0] + halves[1]) / 2, "variance": np.full(truth.shape, 0.005)}
    for name, volume in {**volumes, "a": halves[0], "b": halves[1]}.items():
        (tmp_path / f"{name}.mrc").write_bytes(map_bytes(volume.astype(np.float32), 2.0))
    return tmp_path


def test_a_map_is_compressed_and_read_again(folder: Path) -> None:
    known = ("--variance", folder / "variance.mrc")
    facts = json.loads(run("compress", folder / "map.mrc", *known, "--json"))
    assert facts["output_bytes"] == (folder / "map.lac").stat().st_size < facts["input_bytes"] / 4
    assert "refused" not in run("info", folder / "map.lac")
    assert json.loads(run("info", folder / "map.lac", "--json"))["pixel_size"] == 2.0
    run("decompress", folder / "map.lac", "-o", folder / "back.mrc")
    found, given = (read_map(folder / f"{name}.mrc").density for name in ("back", "map"))
    assert np.linalg.norm(found - given) < 0.5 * np.linalg.norm(given)
    assert "exists" in run("decompress", folder / "map.lac", status=1)  # map.mrc
    run("decompress", folder / "map.lac", "-o", f"{folder}/sub/")
    assert (folder / "sub" / "map.mrc").read_bytes() == (folder / "back.mrc").read_bytes()


def test_half_maps_say_what_is_known(folder: Path) -> None:
    halves = ("--half-map", folder / "a.mrc", "--half-map", folder / "b.mrc")
    assert "bits per voxel" in run("compress", folder / "map.mrc", *halves, "--quality", 40)


def test_maps_are_refused_in_one_line(folder: Path) -> None:
    given, known = folder / "map.mrc", ("--variance", folder / "variance.mrc")
    for arguments, status, said in (
        ((given,), 1, "a map alone does not say how well it is known"),
        ((given, *known, "--half-map", folder / "a.mrc"), 2, "twice"),
        ((given, *known, "--bpp", 1), 2, "is for pictures"),
        ((given, folder / "a.mrc", *known), 1, "compress it alone"),
        ((given, "--variance", given), 1, "numbers below 0"),
        ((given, "--variance", folder / "no.mrc"), 1, "no such file"),
    ):
        output = run("compress", *arguments, "-o", folder / "out.lac", status=status)
        assert said in " ".join(output.replace("│", " ").split())
    assert not (folder / "out.lac").exists()
    run("compress", given, *known)
    assert "name an MRC file" in run(
        "decompress", folder / "map.lac", "-o", folder / "x.png", status=1
    )
