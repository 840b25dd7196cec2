"""STAR files of RELION's generations, and what is wrong with others."""

from pathlib import Path

import numpy as np
import pytest

from laconic.data.microscopy.maps import stack_bytes
from laconic.data.microscopy.particles import Optics, Particles, read_particles, star_text
from laconic.errors import InputError

NEW = """
data_optics

loop_
_rlnOpticsGroup #1
_rlnImagePixelSize #2
_rlnVoltage #3
_rlnSphericalAberration #4
_rlnAmplitudeContrast #5
1 {pixel} 300 2.7 0.1

data_particles

loop_
_rlnImageName #1
_rlnOpticsGroup #2
_rlnAngleRot #3
_rlnAngleTilt #4
_rlnAnglePsi #5
_rlnOriginXAngst #6
_rlnOriginYAngst #7
_rlnDefocusU #8
_rlnDefocusV #9
_rlnDefocusAngle #10
000002@{stack} 1 10 20 30 1.5 -2.5 15000 14000 45
000001@{stack} 1 11 21 31 0.5 -0.5 15000 14000 45
"""
OLD = """
data_

loop_
_rlnImageName #1
_rlnMagnification #2
_rlnDetectorPixelSize #3
_rlnAngleRot #4
_rlnAngleTilt #5
_rlnAnglePsi #6
_rlnOriginX #7
_rlnOriginY #8
000001@a.mrcs 50000 14 10 20 30 3 -4
"""

CRYOSPARC = """
data_optics

loop_
_rlnOpticsGroup #1
_rlnVoltage #2
_rlnImagePixelSize #3
_rlnSphericalAberration #4
_rlnAmplitudeContrast #5
_rlnImageSize #6
1 300.000000 2.000000 2.700000 0.100000 8
2 300.000000 2.000000 2.700000 0.070000 8

data_particles

loop_
_rlnImageName #1
_rlnMicrographName #2
_rlnCoordinateX #3
_rlnCoordinateY #4
_rlnAngleRot #5
_rlnAngleTilt #6
_rlnAnglePsi #7
_rlnOriginXAngst #8
_rlnOriginYAngst #9
_rlnDefocusU #10
_rlnDefocusV #11
_rlnDefocusAngle #12
_rlnPhaseShift #13
_rlnClassNumber #14
_rlnRandomSubset #15
_rlnOpticsGroup #16
_ucsfUid #17
000002@J12/extract/batch_0.mrc J5/m1.mrc 17 28 -131.250000 42.500000 12.125000 1.500000 -2.500000 \
15000.000000 14000.000000 45.000000 0.000000 1 2 2 17369238502351
000001@J12/extract/batch_0.mrc J5/m1.mrc 90 41 11.000000 21.000000 31.000000 0.500000 -0.500000 \
15100.000000 14100.000000 46.000000 0.000000 1 1 1 17369238502352
"""
CRYOSPARC_OLD = """
data_images

loop_
_rlnImageName #1
_rlnAngleRot #2
_rlnAngleTilt #3
_rlnAnglePsi #4
_rlnOriginX #5
_rlnOriginY #6
_rlnDetectorPixelSize #7
_rlnMagnification #8
_rlnRandomSubset #9
000002@J12/extract/batch_0.mrc -131.250000 42.500000 12.125000 0.750000 -1.250000 2.000000 \
10000.000000 2
000001@J12/extract/batch_0.mrc 11.000000 21.000000 31.000000 0.250000 -0.250000 2.000000 \
10000.000000 1
"""
"""What pyem's csparc2star.py writes, for RELION 3.1 and, with --relion2, for older ones."""


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    images = np.arange(2 * 8 * 8, dtype=np.float32).reshape(2, 8, 8)
    (tmp_path / "a.mrcs").write_bytes(b"".join(stack_bytes([images], 2, 8, 2.0)))
    return tmp_path


def star(folder: Path, text: str) -> Path:
    path = folder / "a.star"
    path.write_text(text)
    return path


def test_files_of_relion_3_1_and_5_are_read(folder: Path) -> None:
    found = read_particles(star(folder, NEW.format(pixel=2.0, stack="a.mrcs")))
    assert len(found) == 2
    assert (found.size, found.pixel_size) == (8, 2.0)
    assert found.angles is not None
    assert found.angles[0].tolist() == [10, 20, 30]
    assert found.origins[0].tolist() == [1.5, -2.5]
    assert found.optics is not None
    assert found.optics.defocus[1].tolist() == [15000, 14000, 45]
    assert found.optics.voltage.tolist() == [300, 300]
    images = found.images(np.array([0, 1]))
    assert images[0, 0, 0] == 64
    assert images[1, 0, 0] == 0


def test_files_of_relion_3_0_have_pixels_and_a_magnification(folder: Path) -> None:
    found = read_particles(star(folder, OLD))
    assert found.pixel_size == pytest.approx(2.8)
    assert found.origins[0] == pytest.approx([8.4, -11.2])
    assert found.optics is None


@pytest.mark.parametrize("text", [CRYOSPARC, CRYOSPARC_OLD])
def test_what_pyem_makes_of_cryosparc_is_read(folder: Path, text: str) -> None:
    """Stacks lie in the job's folder below the STAR file, or beside it; columns of pyem's own."""
    place = folder / "J12" / "extract"
    place.mkdir(parents=True)
    (folder / "a.mrcs").rename(place / "batch_0.mrc")
    (folder / "p.star").write_text(text)
    for _ in range(2):
        found = read_particles(folder / "p.star")
        assert found.pixel_size == pytest.approx(2.0)
        assert found.angles is not None
        assert found.angles.tolist() == [[-131.25, 42.5, 12.125], [11, 21, 31]]
        assert found.origins.tolist() == [[1.5, -2.5], [0.5, -0.5]]
        assert found.half is not None
        assert found.half.tolist() == [2, 1]
        assert found.images(np.arange(2))[:, 0, 0].tolist() == [64, 0]
        if text is CRYOSPARC:
            assert found.optics is not None
            assert found.optics.amplitude.tolist() == [0.07, 0.1]
            assert found.optics.defocus[0].tolist() == [15000, 14000, 45]
        if (place / "batch_0.mrc").exists():
            (place / "batch_0.mrc").rename(folder / "batch_0.mrc")


def test_what_is_written_is_read(folder: Path) -> None:
    numbers = np.random.default_rng(0).normal(size=(2, 3)).round(4)
    optics = Optics(numbers + 20000, *(np.full(2, value) for value in (200.0, 2.7, 0.07, 0.0)))
    written = Particles(
        stacks=(folder / "a.mrcs",),
        stack=np.zeros(2, np.int64),
        index=np.arange(2),
        size=8,
        pixel_size=1.25,
        angles=numbers,
        origins=numbers[:, :2],
        optics=optics,
        half=np.array([1, 2]),
    )
    found = read_particles(star(folder, star_text("a.mrcs", written)))
    assert found.angles == pytest.approx(numbers)
    assert found.origins == pytest.approx(numbers[:, :2])
    assert found.optics is not None
    assert found.optics.defocus == pytest.approx(optics.defocus)
    assert found.half is not None
    assert found.half.tolist() == [1, 2]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (NEW.format(pixel=2.0, stack="b.mrcs"), "the stack b.mrcs is missing"),
        (NEW.format(pixel=0.0, stack="a.mrcs"), "pixel sizes from 0"),
        (NEW.format(pixel=2.0, stack="a.mrcs").replace("000002@", "000009@"), "image 9 of"),
        (NEW.format(pixel=2.0, stack="a.mrcs").replace("000002@", ""), "000001@stack.mrcs"),
        (NEW.format(pixel=2.0, stack="a.mrcs").replace(" 20 ", " nan "), "rlnAngleTilt"),
        (NEW.format(pixel=2.0, stack="a.mrcs").replace("_rlnAngleTilt", "_rlnX"), "rlnAngleTilt"),
        (NEW.format(pixel=2.0, stack="a.mrcs").replace("_rlnVoltage", "_rlnX"), "rlnVoltage"),
        (OLD.replace("_rlnMagnification", "_rlnX"), "no column rlnMagnification"),
        (OLD.replace("_rlnMag", "_X").replace("_rlnDet", "_Y"), "names no pixel size"),
        ("hello", "it has no block of particles"),
    ],
)
def test_other_files_are_refused_in_one_line(folder: Path, text: str, message: str) -> None:
    with pytest.raises(InputError, match=message):
        read_particles(star(folder, text))


def test_images_that_are_not_finite_are_named(folder: Path) -> None:
    images = np.full((2, 8, 8), np.nan, np.float32)
    (folder / "a.mrcs").write_bytes(b"".join(stack_bytes([images], 2, 8, 2.0)))
    found = read_particles(star(folder, NEW.format(pixel=2.0, stack="a.mrcs")))
    with pytest.raises(InputError, match="image 2 holds numbers that are not finite"):
        found.images(np.array([0]))


def test_boxes_must_agree(folder: Path) -> None:
    images = np.zeros((1, 6, 6), np.float32)
    (folder / "b.mrcs").write_bytes(b"".join(stack_bytes([images], 1, 6, 2.0)))
    text = NEW.format(pixel=2.0, stack="a.mrcs").replace("000001@a.mrcs", "000001@b.mrcs")
    with pytest.raises(InputError, match="images of 6 pixels, where those of"):
        read_particles(star(folder, text))
