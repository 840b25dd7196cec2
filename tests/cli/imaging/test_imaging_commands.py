"""simulate, reconstruct and fsc from the command line, with interruption and bad input."""

import json
from pathlib import Path

import pytest
from typer.testing import CliRunner

from laconic.cli import app

PDB = "".join(
    f"ATOM  {k:5d}  CA  ALA A{k:4d}    {x:8.3f}{y:8.3f}{z:8.3f}  1.00  0.00           C\n"
    for k, (x, y, z) in enumerate(
        [(0, 0, 0), (12, 3, -4), (-9, 8, 10), (5, -14, 6), (-3, 2, -15), (10, 11, 9)], 1
    )
)


def run(*arguments: object, status: int = 0) -> str:
    result = CliRunner().invoke(app, [str(argument) for argument in arguments])
    assert result.exit_code == status, result.output
    return result.output


@pytest.fixture
def particles(tmp_path: Path) -> Path:
    (tmp_path / "a.pdb").write_text(PDB)
    star = tmp_path / "p.star"
    size = ("--box", 16, "--pixel-size", 4, "--number", 120)
    extra = ("--snr", 2, "--shifts", 4, "--volume", tmp_path / "truth.mrc")
    run("simulate", tmp_path / "a.pdb", "-o", tmp_path / "p.mrcs", "--star", star, *size, *extra)
    return star


def test_a_molecule_is_found_again(particles: Path) -> None:
    folder = particles.parent
    files = ("-o", folder / "map.mrc", "--variance", folder / "variance.mrc", "--half-maps")
    files = (*files, "--report", folder / "page.html")
    facts = json.loads(run("reconstruct", particles, *files, "--ignore-ctf", "--json"))
    assert facts["images"] == 120
    assert (folder / "map-half2.mrc").exists()
    assert "Local resolution" in (folder / "page.html").read_text()
    assert not (folder / "map.mrc.partial").exists()
    found = json.loads(run("fsc", folder / "map.mrc", folder / "truth.mrc", "--json"))
    assert found["resolution"]["0.5"] < 12
    assert "0.143 at" in run("fsc", folder / "map-half1.mrc", folder / "map-half2.mrc")


def test_the_posterior_by_gradients_is_an_option(particles: Path) -> None:
    out = particles.parent / "g.mrc"
    options = ("--ignore-ctf", "--posterior", "gaussian", "--epochs", 20)
    run("reconstruct", particles, "-o", out, *options)
    found = json.loads(run("fsc", out, particles.parent / "truth.mrc", "--json"))
    assert found["resolution"]["0.5"] < 14
    more = ("-o", particles.parent / "no.mrc", "--ignore-ctf")
    message = run("reconstruct", particles, *more, "--posterior", "point", status=1)
    assert "posterior: 'point' is not one of closed-form, gaussian, delta" in message


def test_the_same_seed_gives_the_same_files(particles: Path) -> None:
    folder = particles.parent
    first = (folder / "p.mrcs").read_bytes()
    size = ("--box", 16, "--pixel-size", 4, "--number", 120, "--snr", 2, "--shifts", 4)
    names = ("-o", folder / "q.mrcs", "--star", folder / "q.star")
    run("simulate", folder / "a.pdb", *names, *size)
    assert (folder / "q.mrcs").read_bytes() == first


def test_bad_input_is_one_line(particles: Path) -> None:
    folder = particles.parent
    small = ("--box", 8, "--pixel-size", 1, "-o", folder / "s.mrcs", "--star", folder / "s.star")
    assert "it takes" in run("simulate", folder / "a.pdb", *small, status=1)
    assert not (folder / "s.mrcs").exists()
    text = particles.read_text().replace("_rlnImagePixelSize", "_rlnX")
    (folder / "bad.star").write_text(text)
    out = ("-o", folder / "bad.mrc")
    message = run("reconstruct", folder / "bad.star", *out, status=1)
    assert "names no pixel size" in message
    assert len(message.strip().splitlines()) == 1
    assert "exists" in run("reconstruct", particles, "-o", folder / "truth.mrc", status=1)
    assert "no such file" in run("fsc", folder / "no.mrc", folder / "truth.mrc", status=1)
