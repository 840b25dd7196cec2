"""One target for each reader: valid inputs, how they are altered, and a body that reads them.

A body raises `LaconicError` for input that is not right. Everything else that it raises is a fault.
"""

import sys
import tempfile
import warnings
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from random import Random

import yaml
from mutation import alter_bytes, alter_file

from laconic.codecs.base import Decoding, LoadedModel, open_file
from laconic.errors import LaconicError

ROOT = Path(__file__).resolve().parents[1]
FIXTURES = ROOT / "tests" / "fixtures"
DECODER = ROOT / "decoder"
"""The second implementation of the format, with its tests' models."""
REGRESSIONS = Path(__file__).parent / "regressions"


@dataclass(frozen=True)
class Target:
    """A reader under test.

    Attributes:
        seeds: gives valid inputs.
        body: reads an input.
        alter: gives an altered input of a valid one, a source of choices and another valid one.
    """

    seeds: Callable[[], list[bytes]]
    body: Callable[[bytes], object]
    alter: Callable[[bytes, Random, bytes], bytes] = alter_file

    def run(self, data: bytes) -> bool:
        """Read an input; returns whether it was accepted, and raises what is a fault."""
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            try:
                self.body(data)
            except LaconicError as error:
                _check_message(error)
                return False
        return True


def _check_message(error: LaconicError) -> None:
    """A message is one line that is not empty."""
    text = str(error)
    if not text.strip() or "\n" in text:
        raise AssertionError(f"not one line: {text!r}") from error


def _files(*patterns: str) -> list[bytes]:
    found = sorted(path for pattern in patterns for path in FIXTURES.glob(pattern))
    return [path.read_bytes() for path in found]


@cache
def _pyramid() -> LoadedModel:
    """The ladder without weights, which wrote some of the fixtures."""
    from laconic.models.pyramid import Pyramid

    return LoadedModel(Pyramid(), "pyramid", b"pyramid!")


def _load(name: str) -> LoadedModel:
    return LoadedModel(_pyramid().model, name, _pyramid().fingerprint)


def _describe(data: bytes) -> None:
    open_file(data).describe().to_dict()


def _decode(data: bytes) -> None:
    file = open_file(data, partial=True)
    for _ in file.decode(Decoding(load=_load, threads=1)):
        pass


def _decode_map(data: bytes) -> None:
    for _, found in open_file(data).decode(Decoding()):
        found.to_bytes()


def _decode_independently(data: bytes) -> None:
    """Decode by the second implementation; its error counts as one of Laconic's."""
    _import_decoder()
    from laconic_decoder.container import LacError, open_lac
    from laconic_decoder.image import decode_image
    from laconic_decoder.lossless import decode_lossless
    from laconic_decoder.maps import decode_map
    from laconic_decoder.network import decode_network

    try:
        lac = open_lac(data)
        if lac.codec == "network":
            decode_network(lac).safetensors()
        elif lac.codec == "map":
            decode_map(lac).mrc()
        elif lac.codec == "image":
            decode_image(lac, _find_model)
        else:
            for _ in decode_lossless(lac, _find_model):
                pass
    except LacError as error:
        raise LaconicError(str(error)) from error


@cache
def _import_decoder() -> None:
    sys.path[:0] = [str(DECODER), str(DECODER / "tests")]


@cache
def _find_model(name: str, fingerprint: bytes) -> object:
    """The model of one of the seeds."""
    from fixture_models import find_image_model
    from laconic_decoder.container import LacError

    if name != "small":
        raise LacError(f"no model {name!r}")
    return find_image_model(name, fingerprint)


def _direct_pictures() -> list[bytes]:
    """Pictures that no model codes, alone and in archives, by every method."""
    import numpy as np
    from PIL import Image

    import laconic

    row, column = np.mgrid[:21, :30]
    grey = ((row // 5 + column // 7) % 3 * 80).astype(np.uint8)
    colour = np.stack([grey, 255 - grey, (row * column % 256).astype(np.uint8)], 2)
    deep = (row * 900 + column).astype(np.uint16)
    pictures = [grey, colour, grey > 90, deep]
    images = [Image.fromarray(picture) for picture in pictures]
    alone = [laconic.compress(image, lossless=True, effort=3) for image in images]
    named = [(f"folder/{index:02d}.png", image) for index, image in enumerate(images)]
    return [*alone, laconic.archive(dict(named), effort=3)]


def _in_a_file(ending: str, read: Callable[[Path], object]) -> Callable[[bytes], object]:
    """A body for readers of paths: the input is written to a temporary file."""

    def body(data: bytes) -> object:
        with tempfile.TemporaryDirectory() as folder:
            path = Path(folder) / f"input{ending}"
            path.write_bytes(data)
            return read(path)

    return body


def _safetensors() -> list[bytes]:
    return [path.read_bytes() for path in sorted(FIXTURES.glob("network/1/*.safetensors"))]


def _read_weights(path: Path) -> None:
    from laconic.data.weights.tensors import open_weights

    for _, fetch in open_weights(path)[0].values():
        fetch()


def _recipes() -> list[bytes]:
    """A recipe of each experiment; sweeps are left out."""
    texts = {path.parent: path.read_bytes() for path in sorted(ROOT.glob("experiments/*/*.yaml"))}
    return [text for text in texts.values() if b"families:" not in text]


def _read_recipe(path: Path) -> None:
    from laconic.lab.recipes import read_recipe
    from laconic.training.config import read_config

    try:
        read_recipe(read_config(path))
    except yaml.YAMLError as error:
        raise AssertionError("an error of the YAML library left the reader") from error


def _maps() -> list[bytes]:
    import numpy as np

    from laconic.data.microscopy.maps import map_bytes, stack_bytes

    density = np.linspace(-1, 1, 6 * 6 * 6, dtype=np.float32).reshape(6, 6, 6)
    stack = b"".join(stack_bytes([density[:3], density[3:]], number=6, size=6, pixel_size=2.5))
    return [map_bytes(density, 2.5), stack]


def _read_map(path: Path) -> None:
    from laconic.data.microscopy.maps import read_map

    read_map(path)


def _stars() -> list[bytes]:
    optics = (
        "# version 30001\n\ndata_optics\n\nloop_\n_rlnOpticsGroup #1\n_rlnImagePixelSize #2\n"
        "_rlnImageSize #3\n_rlnVoltage #4\n_rlnSphericalAberration #5\n"
        "_rlnAmplitudeContrast #6\n1 2.8 6 300.0 2.7 0.1\n\n"
    )
    columns = (
        "ImageName", "AngleRot", "AngleTilt", "AnglePsi", "OriginXAngst", "OriginYAngst",
        "DefocusU", "DefocusV", "DefocusAngle", "OpticsGroup",
    )  # fmt: skip
    head = "data_particles\n\nloop_\n" + "".join(f"_rln{name}\n" for name in columns)
    rows = "".join(f"{k}@p.mrcs {10 * k}.5 20 -30 1.5 0 9000 9100 45 1\n" for k in (1, 2, 3))
    old = "data_\n\nloop_\n_rlnImageName\n_rlnAngleRot\n_rlnAngleTilt\n_rlnAnglePsi\n"
    return [(optics + head + rows).encode(), (old + "1@p.mrcs 10 20 30\n").encode()]


def _read_star(path: Path) -> None:
    from laconic.data.microscopy.particles import read_particles

    (path.parent / "p.mrcs").write_bytes(_maps()[1])
    read_particles(path, pixel_size=2.0)


def _structures() -> list[bytes]:
    atom = "ATOM  {0:5d}  CA  ALA A{0:4d}    {1:8.3f}{1:8.3f}{1:8.3f}  1.00 20.00           C  \n"
    remark = (
        "REMARK 350 BIOMOLECULE: 1\nREMARK 350 APPLY THE FOLLOWING TO CHAINS: A\n"
        "REMARK 350   BIOMT1   1  1.000000  0.000000  0.000000        0.00000\n"
        "REMARK 350   BIOMT2   1  0.000000  1.000000  0.000000        0.00000\n"
        "REMARK 350   BIOMT3   1  0.000000  0.000000  1.000000        0.00000\n"
    )
    return [(remark + "".join(atom.format(k, 1.5 * k) for k in range(1, 6)) + "END\n").encode()]


def _read_structure(path: Path) -> None:
    from laconic.data.microscopy.structures import read_atoms

    read_atoms(path)


def _pictures() -> list[bytes]:
    """Small PNG files with a profile, text and 16 bits."""
    import io

    import numpy as np
    from PIL import Image, ImageCms, PngImagePlugin

    row, column = np.mgrid[:9, :12]
    made = [(row * 20 + column).astype(np.uint8), (row * 5000 + column).astype(np.uint16)]
    profile = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()
    notes = PngImagePlugin.PngInfo()
    notes.add_text("Title", "a drawing", zip=True)
    files = []
    for picture in made:
        buffer = io.BytesIO()
        image = Image.fromarray(picture)
        image.save(buffer, "PNG", icc_profile=profile, pnginfo=notes, dpi=(72, 72))
        files.append(buffer.getvalue())
    return files


def _compress_picture(path: Path) -> None:
    import laconic

    laconic.compress(path, lossless=True, effort=0)


TARGETS: Mapping[str, Target] = {
    "info": Target(lambda: _files("*/1/*.lac") + _direct_pictures(), _describe),
    "network": Target(lambda: _files("network/1/*.lac"), _decode),
    "lossless": Target(_direct_pictures, _decode),
    "image": Target(lambda: _files("image/1/rgb*.lac", "image/1/grey*.lac"), _decode),
    "volume": Target(lambda: _files("map/1/*.lac"), _decode_map),
    "decoder": Target(
        lambda: (
            _files("network/1/*.lac", "map/1/*.lac", "image/1/sliced-t*.lac") + _direct_pictures()
        ),
        _decode_independently,
    ),
    "safetensors": Target(_safetensors, _in_a_file(".safetensors", _read_weights), alter_bytes),
    "picture": Target(_pictures, _in_a_file(".png", _compress_picture), alter_bytes),
    "recipe": Target(_recipes, _in_a_file(".yaml", _read_recipe), alter_bytes),
    "map": Target(_maps, _in_a_file(".mrc", _read_map), alter_bytes),
    "star": Target(_stars, _in_a_file(".star", _read_star), alter_bytes),
    "structure": Target(_structures, _in_a_file(".pdb", _read_structure), alter_bytes),
}
"""Every reader by name."""


def altered(target: Target, seeds: list[bytes], seed: int) -> bytes:
    """The altered input number `seed`."""
    source = Random(seed)
    return target.alter(source.choice(seeds), source, source.choice(seeds))
