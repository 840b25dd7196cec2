"""Files of this release, one for each kind; and that no kind, coder or method lacks one.

`WRITE_GOLDEN=1` writes what is missing; released files are never rewritten. Their SHA-256 are in
`fixtures/released.txt`, so that none changes or vanishes; `WRITE_GOLDEN=1` adds new ones to it.
"""

import os
from hashlib import sha256
from pathlib import Path

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from PIL import Image
from safetensors.torch import load_file

import laconic
from laconic import pretrained
from laconic.codecs.base import CODECS, open_file
from laconic.codecs.image import codec as lossy
from laconic.codecs.image import tiles
from laconic.codecs.image.codec import ImageCodec
from laconic.codecs.image.file import ImageFile
from laconic.codecs.image.header import Totals
from laconic.codecs.image.picture import Colour
from laconic.codecs.lossless import grid
from laconic.codecs.lossless.codec import Core, LosslessCodec
from laconic.codecs.lossless.direct import METHODS, choice
from laconic.codecs.lossless.direct import MODEL as MODEL_NUMBER
from laconic.codecs.lossless.direct.conversion.known import KNOWN
from laconic.codecs.lossless.file import LosslessFile, make_coder
from laconic.codecs.lossless.header import Bundle
from laconic.codecs.lossless.picture import Kind
from laconic.codecs.network.file import NetworkFile
from laconic.codecs.network.manifest import LAYOUTS, Method
from laconic.coding.relative_entropy import CODERS
from laconic.container import Section, pack, unpack
from laconic.deep_image import DeepImage
from laconic.errors import UnsupportedFileError
from laconic.models import make_model
from laconic.models.pyramid import Pyramid

FOLDER = "pictures/0.1"


def scene(colours: int) -> NDArray[np.uint8]:
    """A picture of 41 x 30 pixels, the same on every machine for ever."""
    row, column, colour = np.mgrid[:30, :41, :colours]
    values = 4 * row + 3 * column + 40 * colour + (row // 7 + column // 9) % 2 * 60
    return (values % 251).astype(np.uint8)


def deep(channels: int, factor: int) -> DeepImage:
    """That picture with 16 bits a sample, multiples of a factor."""
    values = scene(4)[..., :channels].astype(np.int64)
    row, column, _ = np.indices(values.shape)
    samples = (values * 200 + row * column % 61) // factor * factor
    return DeepImage(samples.astype(np.uint16))


def image(mode: str, orientation: int = 1, profile: bytes = b"") -> Image.Image:
    """That picture in a mode of Pillow, with metadata if it has an orientation or a profile."""
    if mode == "I;16":
        found = Image.fromarray(scene(1)[..., 0].astype(np.uint16) * 259)
    elif mode == "equal":
        found = Image.fromarray(np.repeat(scene(1), 3, 2))
    elif mode == "1":
        found = Image.fromarray(scene(1)[..., 0] > 120)
    else:
        bands = {"L": 1, "LA": 1, "RGB": 3, "RGBA": 3}[mode]
        found = Image.fromarray(scene(bands) if bands == 3 else scene(1)[..., 0])
        if mode.endswith("A"):
            found.putalpha(Image.fromarray(255 - scene(1)[..., 0] // 2))
    if profile:
        found.info["icc_profile"] = profile
    if orientation > 1:
        tags = Image.Exif()
        tags[0x0112], tags[0x010F] = orientation, "Laconic"
        found.info |= {"exif": tags.tobytes(), "xmp": b"<xmp/>", "dpi": (72.0, 144.0)}
    return found


def converted() -> Image.Image:
    """That picture with less contrast as luma and chroma, and alpha."""
    components = scene(3) // 4 + np.uint8(96)
    found = Image.fromarray(KNOWN[0].program.run(components))
    found.putalpha(image("L"))
    return found


SMALL_PROFILE = b"not a real profile, but small" * 4
LOSSY: dict[str, tuple[Image.Image, str]] = {
    "lossy-rgb": (image("RGB"), "trellis"),
    "lossy-rgba": (image("RGBA"), "trellis"),
    "lossy-grey": (image("L"), "trellis"),
    "lossy-grey-alpha": (image("LA"), "trellis"),
    "lossy-bilevel": (image("1"), "trellis"),
    "lossy-metadata-tiled": (image("RGB", 6, SMALL_PROFILE), "trellis"),
    "lossy-short-costs": (image("RGB"), "trellis"),
    "lossy-short-costs-tiled": (image("RGB"), "trellis"),
}
MODEL = "model"
DIRECT = "direct"
LOSSLESS: dict[str, tuple[Image.Image | DeepImage, str]] = {
    "lossless-rgb": (image("RGB"), MODEL),
    "lossless-rgba": (image("RGBA"), MODEL),
    "lossless-grey": (image("L"), MODEL),
    "lossless-grey-alpha": (image("LA"), MODEL),
    "lossless-bilevel": (image("1"), MODEL),
    "lossless-deep": (image("I;16"), MODEL),
    "lossless-equal": (image("equal"), MODEL),
    "lossless-metadata-tiled": (image("RGB", 6, SMALL_PROFILE), MODEL),
    "lossless-plain": (image("1"), "plain"),
    "lossless-webp": (image("RGBA"), "WebP"),
    "lossless-png": (image("I;16"), "PNG"),
    "lossless-contexts": (image("RGB"), "contexts"),
    "lossless-conversion": (converted(), "conversion"),
    "lossless-least-squares": (image("LA"), "least squares"),
    "lossless-png-tiled": (image("RGBA"), "PNG"),
    "lossless-deep-rgb": (deep(3, 1), DIRECT),
    "lossless-deep-rgba": (deep(4, 16), DIRECT),
    "lossless-deep-grey-alpha-tiled": (deep(2, 1), DIRECT),
}


def causal(fixtures: Path) -> Core:
    """The small causal model of the lossless fixtures."""
    sizes = {"strides": (), "latents": (), "widths": ()}
    context = {"context_width": 6, "context_kernel": 5, "context_blocks": 1}
    model = make_model({"name": "pixels", **sizes, **context})
    weights = load_file(fixtures / "lossless" / "1" / "causal.safetensors")
    model.load_state_dict({key: value.float() for key, value in weights.items()})
    return Core(make_coder(model.eval()), "causal", b"causal  ")


def write(name: str, fixtures: Path, patch: pytest.MonkeyPatch) -> bytes:
    if name.endswith("tiled"):
        patch.setattr(tiles, "MAX_TILE_PIXELS", 32 * 32)
        patch.setattr(tiles, "TILE_SIDE", 32)
        patch.setattr(tiles, "OVERLAP", 8)
        patch.setattr(grid, "TILE_SIDE", 20)
        patch.setattr(grid, "DIRECT_TILE_SIDE", 20)
        patch.setattr(grid, "MAX_TILE_PIXELS", 400)
        patch.setattr(lossy, "LAYER_BYTES", 100)
    if name in LOSSY:
        picture, coder = LOSSY[name]
        return ImageCodec(Pyramid(), "pyramid", b"pyramid!", coder).encode(picture, quality=60)
    picture, method = LOSSLESS[name]
    if method not in (MODEL, DIRECT):
        chosen = tuple(one for one in METHODS.values() if one.name == method)
        patch.setattr(choice, "_ALL", chosen)
        patch.setattr(choice, "_encode_squares", lambda *given: (chosen[0].number, ()))
    codec = LosslessCodec(causal(fixtures), effort=None if method == MODEL else 3)
    return codec.encode(picture)


@pytest.mark.parametrize("name", [*LOSSY, *LOSSLESS])
def test_released_pictures_decode_for_ever(
    name: str, fixtures: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = fixtures / FOLDER / f"{name}.lac"
    if os.environ.get("WRITE_GOLDEN") and not path.exists():
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(write(name, fixtures, monkeypatch))
        if name in LOSSY:
            decode(path, fixtures).save(path.with_suffix(".png"))
        pytest.fail(f"wrote {path.name}: review it, then run again without WRITE_GOLDEN")
    found = decode(path, fixtures)
    if name in LOSSLESS:
        expected = LOSSLESS[name][0]
        mode = "RGB" if expected.mode == "RGB" else expected.mode
        assert found.mode == mode
        assert np.array_equal(np.asarray(found), np.asarray(expected))
        assert found.info.get("icc_profile") == expected.info.get("icc_profile")
        assert found.info.get("xmp") == expected.info.get("xmp")
        return
    with Image.open(path.with_suffix(".png")) as expected:
        assert found.mode == expected.mode
        difference = np.abs(np.asarray(found).astype(int) - np.asarray(expected).astype(int))
    assert difference.max() <= 1


def decode(path: Path, fixtures: Path) -> Image.Image | DeepImage:
    if path.stem in LOSSY:
        return ImageCodec(Pyramid(), "pyramid", b"pyramid!").decode(path.read_bytes())
    return LosslessCodec(causal(fixtures)).decode(LosslessFile.read(path.read_bytes()))


@pytest.mark.slow
@pytest.mark.parametrize("model", ["default", "photo2"])
def test_files_of_embedded_models_decode_for_ever(model: str, fixtures: Path) -> None:
    path = fixtures / FOLDER / f"embedded-{model}.lac"
    if os.environ.get("WRITE_GOLDEN") and not path.exists():
        data = laconic.compress(image("RGB"), quality=30, model=model, coder="trellis")
        path.write_bytes(data)
        laconic.decompress(path).save(path.with_suffix(".png"))
        pytest.fail(f"wrote {path.name}: review it, then run again without WRITE_GOLDEN")
    found = laconic.decompress(path)
    with Image.open(path.with_suffix(".png")) as expected:
        difference = np.abs(np.asarray(found).astype(int) - np.asarray(expected).astype(int))
    assert difference.max() <= 1


@pytest.mark.slow
@pytest.mark.parametrize("model", ["pixels", "pixels2"])
def test_lossless_files_of_embedded_models_decode_for_ever(model: str, fixtures: Path) -> None:
    path, picture = fixtures / FOLDER / f"embedded-{model}.lac", image("RGB")
    if os.environ.get("WRITE_GOLDEN") and not path.exists():
        core = pretrained.lossless_codec(model, 1, None, None).core
        path.write_bytes(LosslessCodec(core).encode(picture))  # Without effort: by the model.
        pytest.fail(f"wrote {path.name}: review it, then run again without WRITE_GOLDEN")
    file = LosslessFile.read(path.read_bytes())
    assert file.header.model is not None
    assert file.header.model.name == model
    assert np.array_equal(np.asarray(laconic.decompress(path)), np.asarray(picture))


@pytest.mark.parametrize("name", ["types", "scaled"])
def test_released_networks_decode_for_ever(name: str, fixtures: Path) -> None:
    """All types of safetensors files; rows and columns with finer steps."""
    path = fixtures / "network" / "1" / f"{name}.lac"
    try:
        found = laconic.expand(path)
    except UnsupportedFileError as error:
        pytest.skip(f"{error}")  # An old torch lacks the newest types.
    expected = load_file(path.with_suffix(".safetensors"))
    assert found.keys() == expected.keys()
    for key, tensor in expected.items():
        assert (found[key].dtype, found[key].shape) == (tensor.dtype, tensor.shape)
        bits = [one.contiguous().reshape(-1).view(torch.uint8) for one in (found[key], tensor)]
        assert torch.equal(*bits), key


KEPT = (".bin", ".json", ".lac", ".mrc", ".png", ".safetensors")
"""Endings of files that decoders of every later release are held to."""


def test_no_released_file_is_missing_or_changed(fixtures: Path) -> None:
    """A file that is not released yet may be listed again after a change: delete its line."""
    record = fixtures / "released.txt"
    lines = record.read_text().splitlines() if record.exists() else []
    listed = dict(reversed(line.split("  ", 1)) for line in lines)
    found = {
        path.relative_to(fixtures).as_posix(): sha256(path.read_bytes()).hexdigest()
        for path in sorted(fixtures.rglob("*"))
        if path.suffix in KEPT
    }
    if os.environ.get("WRITE_GOLDEN") and found.keys() - listed.keys():
        merged = found | listed
        record.write_text("".join(f"{merged[name]}  {name}\n" for name in sorted(merged)))
        pytest.fail("added files to released.txt: review it, then run again")
    assert listed.keys() - found.keys() == set(), "missing"
    assert found.keys() - listed.keys() == set(), "new: WRITE_GOLDEN=1 lists them"
    assert {name for name in found if found[name] != listed[name]} == set(), "changed"


def test_unknown_sections_are_skipped(fixtures: Path) -> None:
    """What docs/format.md promises, so that later writers can add some."""
    for codec in CODECS:
        path = next(
            path
            for path in sorted(fixtures.rglob("*.lac"))
            if unpack(path.read_bytes()).codec == codec
        )
        file = unpack(path.read_bytes())
        more = pack(codec, file.header, [*file.sections, Section("something new", b"?")])
        before, after = open_file(path.read_bytes()).describe(), open_file(more).describe()
        assert after.sections.pop("something new") == 8
        assert after.sections.keys() == before.sections.keys()


def files(fixtures: Path, kind: type) -> list[object]:
    opened = [open_file(path.read_bytes()) for path in sorted(fixtures.rglob("*.lac"))]
    return [file for file in opened if isinstance(file, kind)]


def test_every_codec_has_a_fixture(fixtures: Path) -> None:
    found = {open_file(path.read_bytes()).id for path in fixtures.rglob("*.lac")}
    assert set(CODECS) - found == set()


def test_every_coder_has_a_fixture(fixtures: Path) -> None:
    assert set(CODERS) - {path.stem for path in (fixtures / "coders").glob("*.json")} == set()


def test_every_kind_of_lossy_picture_has_a_fixture(fixtures: Path) -> None:
    headers = [file.header for file in files(fixtures, ImageFile)]
    found = {(header.colour, header.alpha) for header in headers}
    wanted = {(int(colour), alpha) for colour in Colour for alpha in (False, True)}
    wanted.discard((int(Colour.BILEVEL), True))  # Alpha makes it grey.
    assert wanted - found == set()
    for what in ("profile", "metadata"):
        assert any(getattr(header, what) for header in headers), what
    assert any(header.plan.count > 1 for header in headers)
    assert any(len(header.layers) > 1 for header in headers)
    assert any(header.taste is not None for header in headers)
    assert {isinstance(header.costs, Totals) for header in headers} == {False, True}


def bundles_of(fixtures: Path) -> list[Bundle]:
    return [bundle for file in files(fixtures, LosslessFile) for bundle in file.bundles]


def test_every_kind_of_lossless_picture_has_a_fixture(fixtures: Path) -> None:
    bundles = bundles_of(fixtures)
    assert set(Kind) - {bundle.kind for bundle in bundles} == set()
    assert {bool(bundle.alphas) for bundle in bundles} == {False, True}
    assert any(bundle.orientation > 1 for bundle in bundles)
    assert any(bundle.profile is not None for bundle in bundles)
    assert any(bundle.grid.count > 1 for bundle in bundles if bundle.method == MODEL_NUMBER)
    assert any(bundle.grid.count > 1 for bundle in bundles if bundle.method != MODEL_NUMBER)
    assert set(METHODS) - {bundle.method for bundle in bundles} == set()
    assert any(file.header.pictures is not None for file in files(fixtures, LosslessFile))


def test_every_way_to_keep_a_tensor_has_a_fixture(fixtures: Path) -> None:
    entries = [entry for file in files(fixtures, NetworkFile) for entry in file.entries]
    assert set(Method) - {entry.method for entry in entries} == set()
    assert any(entry.scaled for entry in entries)
    assert set(LAYOUTS) - {entry.dtype for entry in entries} == set()
