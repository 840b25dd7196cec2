"""simulate, reconstruct, refine and fsc from the command line, with interruption and bad input."""

import json
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from typer.testing import CliRunner

from laconic.cli import app

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

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


def test_poses_are_found_again(particles: Path) -> None:
    """From the volume at 20 A; a run that was interrupted goes on after its last round."""
    import torch

    from laconic.data.microscopy.particles import read_particles
    from laconic.evaluation.imaging import refinement
    from laconic.evaluation.imaging.views import rotations_of, shifts_of
    from laconic.imaging.rotations import distance

    folder = particles.parent
    start = ("--initial", folder / "truth.mrc", "--low-pass", 20, "--angle", 15, "--shifts", 6)
    files = ("-o", folder / "r.mrc", "--star", folder / "r.star", "--half-maps", "--ignore-ctf")
    facts = json.loads(run("refine", particles, *files, *start, "--rounds", 2, "--json"))
    assert facts["pose_spread_degrees"] < 10
    assert (folder / "r-half1.mrc").exists()
    truth, found = read_particles(particles), read_particles(folder / "r.star")
    angles = distance(rotations_of(truth), rotations_of(found))
    assert float(angles.median()) < 8
    moves = (shifts_of(truth) - shifts_of(found)).norm(dim=1)
    assert float(moves.median()) < 0.5
    assert "laconicPoseSpread" in (folder / "r.star").read_text()

    settings = refinement.Settings(low_pass=20, spacing=15, shifts=6, rounds=2)
    density = read_map_of(folder / "truth.mrc")
    saved, seen = folder / "partial", []

    def stop(done: int, total: int) -> None:
        # The first batch of the second round ends the first run alone.
        if done > len(truth) and not seen:
            seen.append(done)
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        refinement.refine(truth, density, settings, saved, stop)
    again = refinement.refine(truth, density, settings, saved, stop)[1]
    assert not saved.exists()
    assert torch.allclose(
        distance(again.poses.rotations[:, 0], rotations_of(found)),
        torch.zeros(len(truth), dtype=torch.float64),
        atol=0.1,
    )


def read_map_of(path: Path) -> "NDArray[np.float32]":
    from laconic.data.microscopy.maps import read_map

    return read_map(path).density


def test_refine_refuses_in_one_line(particles: Path) -> None:
    folder = particles.parent
    base = ("refine", particles, "-o", folder / "r.mrc", "--initial", folder / "truth.mrc")
    for extra, message in (
        (("--symmetry", "I5"), "'I5' is not C<n>, D<n> or one of T, O"),
        (("--shifts", 60), "more than a quarter of the box"),
        (("--low-pass", 100), "start from a finer low-pass filter"),
        (("--low-pass", 0), "is not a positive number"),
        (("--angle", 90), "angle: 90"),
    ):
        output = run(*base, *extra, "--ignore-ctf", status=1)
        assert message in output
        assert len(output.strip().splitlines()) == 1
    assert not (folder / "r.mrc").exists()
    small = ("--box", 20, "--pixel-size", 4, "--number", 12, "-o", folder / "s.mrcs")
    run("simulate", folder / "a.pdb", *small, "--star", folder / "s.star")
    other = ("refine", folder / "s.star", *base[2:], "--ignore-ctf")
    assert "16 voxels along a side, the images 20 pixels" in run(*other, status=1)
