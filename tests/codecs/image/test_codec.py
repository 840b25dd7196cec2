"""Images to files and back: sizes, modes, precision, threads, targets, files of other models."""

import os
import warnings
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from laconic.codecs.image import codec as codec_module
from laconic.codecs.image import tiles
from laconic.codecs.image.codec import ImageCodec, SmallFileWarning, quality_step
from laconic.codecs.image.file import ImageFile, PartialPictureWarning
from laconic.codecs.image.header import TUNES, ImageHeader
from laconic.codecs.image.picture import LossyInputWarning
from laconic.coding.random import SharedRandomness
from laconic.coding.relative_entropy import CODERS
from laconic.errors import (
    ConfigError,
    CorruptFileError,
    InputError,
    UnreachableTargetError,
    UnsupportedFileError,
)
from laconic.metrics import psnr
from laconic.models.sliced.config import SlicedConfig
from laconic.models.sliced.ladder import SlicedLadder

Make = Callable[..., ImageCodec]


def scene(height: int, width: int, seed: int = 0) -> np.ndarray:
    """Smooth colours with a little noise."""
    rows, columns = np.mgrid[:height, :width] / 40
    waves = [np.sin(rows + k) * np.cos(columns * (k + 1) / 2) for k in range(3)]
    noise = np.random.default_rng(seed).normal(0, 4, (height, width, 3))
    return np.clip(128 + 90 * np.stack(waves, 2) + noise, 0, 255).astype(np.uint8)


def difference(first: Image.Image, second: Image.Image) -> int:
    return int(np.abs(np.asarray(first, np.int16) - np.asarray(second, np.int16)).max())


@pytest.mark.parametrize(
    ("height", "width"), [(1, 1), (1, 37), (53, 1), (2, 3), (8, 8), (31, 97), (64, 72)]
)
def test_sizes(codec: ImageCodec, height: int, width: int) -> None:
    image = scene(height, width)
    decoded = codec.decode(codec.encode(image, quality=90))
    assert (decoded.height, decoded.width, decoded.mode) == (height, width, "RGB")
    assert psnr(image, np.asarray(decoded)) > 20


def test_quality_trades_size_for_distortion(codec: ImageCodec) -> None:
    image = scene(96, 128)
    files = [codec.encode(image, quality=quality) for quality in (1, 50, 100)]
    quality = [psnr(image, np.asarray(codec.decode(data))) for data in files]
    assert sorted(map(len, files)) == [len(data) for data in files]
    assert quality[0] + 3 < quality[1] < quality[2] - 1


@pytest.mark.parametrize("name", [*CODERS, "is-gs"])
def test_every_coder(make_codec: Make, name: str) -> None:
    image = scene(40, 48)
    data = make_codec(name).encode(image, quality=40)
    assert psnr(image, np.asarray(make_codec().decode(data))) > 20
    info = ImageFile.read(data).describe()
    assert info.coder == ("importance+greedy" if name == "is-gs" else name)
    assert [level.coder for level in info.levels][-1] == ("greedy" if name == "is-gs" else name)


MODES = ["RGB", "L", "1", "LA", "RGBA", "P", "CMYK", "YCbCr", "HSV", "LAB"]


@pytest.mark.parametrize("mode", MODES)
def test_modes(codec: ImageCodec, mode: str) -> None:
    image = Image.fromarray(scene(24, 40))
    if mode in ("LA", "RGBA"):
        image.putalpha(Image.fromarray(scene(24, 40, 1)[..., 0]))
    if mode == "LAB":  # Pillow makes LAB only through profiles
        image = Image.new("LAB", (40, 24), (128, 128, 128))
    image = image.convert(mode)
    decoded = codec.decode(codec.encode(image, quality=100))
    expected = {"P": "RGB", "CMYK": "RGB", "YCbCr": "RGB", "HSV": "RGB", "LAB": "RGB"}
    assert decoded.mode == expected.get(mode, mode)
    assert decoded.size == image.size
    if "A" in image.getbands() and mode != "LAB":
        assert difference(decoded.getchannel("A"), image.getchannel("A")) == 0
    if mode not in ("1", "LAB"):
        assert psnr(np.asarray(image.convert("RGB")), np.asarray(decoded.convert("RGB"))) > 22


def test_transparent_palette_becomes_rgba(codec: ImageCodec) -> None:
    image = Image.fromarray(scene(16, 16)).quantize(8)
    image.info["transparency"] = 3
    decoded = codec.decode(codec.encode(image))
    assert decoded.mode == "RGBA"
    assert difference(decoded.getchannel("A"), image.convert("RGBA").getchannel("A")) == 0


def test_sixteen_bits_are_reduced_with_a_warning(codec: ImageCodec) -> None:
    deep = scene(16, 24)[..., 0].astype(np.uint16) * 257
    with pytest.warns(LossyInputWarning, match="16 bits"):
        grey = codec.encode(Image.fromarray(deep), quality=100)
    with pytest.warns(LossyInputWarning, match="16 bits"):
        colour = codec.encode(np.stack([deep] * 3, 2), quality=100)
    assert ImageFile.read(grey).describe().reduced
    assert ImageFile.read(colour).describe().reduced
    assert codec.decode(grey).mode == "L"
    assert not ImageFile.read(codec.encode(scene(8, 8))).describe().reduced


def test_orientation_is_applied(codec: ImageCodec) -> None:
    image = Image.fromarray(scene(16, 40))
    image.getexif()[0x0112] = 6
    assert codec.decode(codec.encode(image)).size == (16, 40)


def test_small_profile_is_kept(codec: ImageCodec) -> None:
    image = Image.fromarray(scene(16, 16))
    image.info["icc_profile"] = b"not a real profile, but small" * 4
    decoded = codec.decode(codec.encode(image))
    assert decoded.info["icc_profile"] == image.info["icc_profile"]


def test_bad_arrays(codec: ImageCodec) -> None:
    for bad in (np.zeros((4, 4, 5), np.uint8), np.zeros((4, 4)), np.zeros((0, 4, 3), np.uint8)):
        with pytest.raises(InputError):
            codec.encode(bad)
    with pytest.raises(InputError, match="mode F"):
        codec.encode(Image.new("F", (4, 4)))
    for quality in (0, 101, float("nan")):
        with pytest.raises(InputError, match="quality"):
            codec.encode(scene(8, 8), quality=quality)
    with pytest.raises(ConfigError, match="float16"):
        ImageCodec(codec.runtime.model, "pyramid", b"pyramid!", "importance", dtype="float16")
    assert (quality_step(1), quality_step(100)) == (0, 1000)


@pytest.mark.slow
def test_target_size(codec: ImageCodec) -> None:
    image = scene(96, 96)
    for bpp in (1.0, 2.2):
        data = codec.encode(image, bpp=bpp)
        assert 0.97 * bpp < 8 * len(data) / 96**2 <= bpp
    with pytest.raises(UnreachableTargetError, match="smallest file"):
        codec.encode(image, bpp=0.001)
    with pytest.warns(SmallFileWarning, match="fewer than the requested 500"):
        data = codec.encode(image, bpp=500.0)
    assert data == codec.encode(image, quality=100)
    with pytest.raises(InputError, match="above 0"):
        codec.encode(image, bpp=-1)


@pytest.mark.parametrize("options", [{"dtype": "float64"}, {"dtype": "bfloat16"}, {"threads": 1}])
def test_other_precision_and_threads(make_codec: Make, options: dict[str, object]) -> None:
    image = scene(64, 80)
    data = make_codec(threads=2).encode(image, quality=60)
    before = torch.get_num_threads()
    first = psnr(image, np.asarray(make_codec(threads=2).decode(data)))
    other = psnr(image, np.asarray(make_codec(**options).decode(data)))
    assert abs(first - other) < (0.3 if options.get("dtype") == "bfloat16" else 0.01)
    assert torch.get_num_threads() == before


def test_same_bytes_every_time(codec: ImageCodec, make_codec: Make) -> None:
    image = scene(40, 40)
    assert codec.encode(image) == make_codec(threads=1).encode(image)
    assert codec.encode(image, seed=1) != codec.encode(image)
    decoded = codec.decode(codec.encode(image, seed=7))
    assert psnr(image, np.asarray(decoded)) > 20


def test_tiles(codec: ImageCodec, monkeypatch: pytest.MonkeyPatch) -> None:
    image = scene(150, 210)
    whole = codec.encode(image, quality=90)
    monkeypatch.setattr(tiles, "MAX_TILE_PIXELS", 96 * 96)
    monkeypatch.setattr(tiles, "TILE_SIDE", 96)
    steps: list[tuple[int, int]] = []
    codec.progress = lambda done, total: steps.append((done, total))
    data = codec.encode(image, quality=90)
    codec.progress = lambda done, total: None
    assert ImageFile.read(data).describe().tiles == 6
    assert steps == [(k + 1, 6) for k in range(6)]
    decoded = np.asarray(codec.decode(data))
    assert decoded.shape == image.shape
    monkeypatch.undo()
    single = psnr(image, np.asarray(codec.decode(whole)))
    assert psnr(image, decoded) > single - 0.5  # a shifted tile would cost many decibels


def test_info_adds_up(codec: ImageCodec) -> None:
    data = codec.encode(scene(64, 64), quality=80)
    info = ImageFile.read(data).describe()
    assert info.file_bits == 8 * len(data) == sum(info.sections.values())
    assert 0 < info.ideal_bits < info.theory_bits
    assert (info.width, info.height, info.mode, info.codec) == (64, 64, "RGB", "image")
    assert info.quality == pytest.approx(80, abs=0.05)
    written = sum(level.bits for level in info.levels)
    assert written == info.sections["latents"]


def test_costs_of_levels_are_written_on_demand(codec: ImageCodec) -> None:
    """The same file with a longer record: same latents, same sums."""
    model = codec.runtime.model
    detailed = ImageCodec(model, codec.model_id.name, bytes(16), level_costs=True)
    short = ImageCodec(model, codec.model_id.name, bytes(16))
    files = [ImageFile.read(one.encode(scene(64, 64), quality=80)) for one in (detailed, short)]
    assert files[0].file.sections == files[1].file.sections
    infos = [file.describe() for file in files]
    assert infos[0].ideal_bits == infos[1].ideal_bits
    assert infos[0].theory_bits == infos[1].theory_bits
    for level, other in zip(infos[0].levels, infos[1].levels, strict=True):
        assert (other.ideal_bits, other.theory_bits, other.parts) == (None, None, {})
        assert level.ideal_bits is not None
        assert level.bits == sum(level.parts.values()) == pytest.approx(other.bits, abs=100)
        assert level.prefix_bytes - len(files[0].header.write()) == pytest.approx(
            other.prefix_bytes - len(files[1].header.write()), abs=4
        )
    saved = infos[0].sections["header"] - infos[1].sections["header"]
    assert saved >= 8 * 6 * len(infos[0].levels)


def test_overhead_of_a_plain_file(codec: ImageCodec) -> None:
    info = ImageFile.read(codec.encode(scene(192, 128), quality=50)).describe()
    assert info.sections["header"] / 8 <= 64 + 3 * len(info.levels)


def test_other_model_is_named(codec: ImageCodec) -> None:
    other = ImageCodec(codec.runtime.model, "other", b"another.", "importance")
    with pytest.raises(UnsupportedFileError, match="'pyramid'"):
        other.decode(codec.encode(scene(8, 8)))


def test_nan_is_a_corrupt_file(codec: ImageCodec, monkeypatch: pytest.MonkeyPatch) -> None:
    data = codec.encode(scene(16, 16))
    broken = type(codec.runtime.model)()
    plain = broken.likelihood

    def likelihood(latents: list[torch.Tensor], context: object) -> object:
        return plain([latents[0] * float("nan"), latents[1]], context)  # type: ignore[arg-type]

    monkeypatch.setattr(broken, "likelihood", likelihood)
    with pytest.raises(CorruptFileError, match="NaN or infinite"):
        ImageCodec(broken, "pyramid", b"pyramid!", "importance").decode(data)


def grown() -> SlicedLadder:
    """A small ladder with taste, two passes and every second network."""
    sizes = {"fine_width": 8, "coarse_width": 8, "prior_width": 12, "embedding": 8, "top": 4}
    more = {
        "refiner_width": 8,
        "kernel": 3,
        "encoder_widths": (8, 8, 8),
        "encoder_blocks": (1, 1, 1),
    }
    config = SlicedConfig(block=4, slices=(3, 9, 36), taste=True, passes=(2, 1, 1), **sizes, **more)
    model, source = SlicedLadder(config), SharedRandomness(3)
    for index, (name, parameter) in enumerate(sorted(model.named_parameters())):
        if not name.startswith("transform."):
            noise = torch.from_numpy(source.child(index).normals(0, parameter.numel()))
            spread = 0.3 / max(parameter[0].numel(), 1) ** 0.5
            parameter.data.copy_(
                (torch.round(4096 * spread * noise) / 4096).reshape(parameter.shape)
            )
    model.transform.variance.copy_(2.0 ** torch.linspace(1, -18, 48).round())
    return model.eval().requires_grad_(False)


def test_taste_is_in_the_file() -> None:
    """It reaches the model on both sides; a file says which, and what is no name is refused."""
    image, model, files = scene(32, 40), grown(), {}
    for tune in (None, *TUNES):
        data = ImageCodec(model, "grown", b"growing1", tune=tune).encode(image, 70)
        assert ImageFile.read(data).describe().tune == (tune or "balanced")
        files[tune] = data
        # A reader follows the file, not its own setting.
        readers = [ImageCodec(model, "grown", b"growing1", tune=one) for one in ("psnr", "ms-ssim")]
        assert difference(*(reader.decode(data) for reader in readers)) == 0
    assert files[None] == files["balanced"]
    assert len({files[tune] for tune in TUNES}) == 3
    with pytest.raises(InputError, match="psnr, balanced, ms-ssim"):
        ImageCodec(model, "grown", b"growing1", tune="nice")


def test_a_model_without_taste_refuses_tune(make_codec: Make) -> None:
    with pytest.raises(InputError, match="'pyramid' makes one kind of picture: leave out tune"):
        make_codec(tune="psnr")
    assert ImageFile.read(make_codec().encode(scene(8, 8))).describe().tune is None


def test_the_size_search_keeps_the_taste() -> None:
    codec = ImageCodec(grown(), "grown", b"growing1", "importance", tune="psnr")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", SmallFileWarning)
        info = ImageFile.read(codec.encode(scene(24, 24), bpp=12.0)).describe()
    assert info.tune == "psnr"
    assert info.bpp is not None
    assert info.bpp <= 12


def in_layers(codec: ImageCodec, image: np.ndarray, patch: pytest.MonkeyPatch) -> bytes:
    patch.setattr(codec_module, "LAYER_BYTES", 100)
    return codec.encode(image, quality=90)


def test_a_prefix_shows_the_first_levels(
    codec: ImageCodec, monkeypatch: pytest.MonkeyPatch
) -> None:
    """With as many bytes as the description says each level is shown; transparency early on."""
    image = np.dstack([scene(64, 72), scene(64, 72, 1)[..., 0]])
    data = in_layers(codec, image, monkeypatch)
    whole, levels = codec.decode(data), ImageFile.read(data).describe().levels
    assert ImageFile.read(data).header.layers == (1, 1)
    assert levels[0].prefix_bytes < len(data) == levels[-1].prefix_bytes
    errors = []
    for cut in (levels[0].prefix_bytes - 1, levels[0].prefix_bytes, len(data) - 1):
        with pytest.raises(CorruptFileError, match="truncated"):
            codec.decode(data[:cut])
        with pytest.warns(PartialPictureWarning, match="of 2 levels of detail are shown") as said:
            shown = ImageFile.read(data[:cut], rescue=True).render(codec.runtime, codec.progress)
        assert shown.size == whole.size
        errors.append(psnr(image[..., :3], np.asarray(shown.convert("RGB"))))
    assert errors[0] + 3 < errors[1] == errors[2]
    assert "transparency is lost" not in str(said[0].message)
    assert difference(shown.getchannel("A"), whole.getchannel("A")) == 0


def test_damage_takes_its_own_layer(codec: ImageCodec, monkeypatch: pytest.MonkeyPatch) -> None:
    image = scene(64, 72)
    image_data = bytearray(in_layers(codec, image, monkeypatch))
    image_data[-1] ^= 1
    with pytest.raises(CorruptFileError, match="damaged"):
        codec.decode(bytes(image_data))
    with pytest.warns(PartialPictureWarning, match="1 of 2 levels"):
        shown = ImageFile.read(bytes(image_data), rescue=True).render(codec.runtime, codec.progress)
    assert psnr(image, np.asarray(shown)) > 15


def test_layers_of_tiles(codec: ImageCodec, monkeypatch: pytest.MonkeyPatch) -> None:
    """All tiles of a level come before the next level, so that half a file shows all of them."""
    monkeypatch.setattr(tiles, "MAX_TILE_PIXELS", 64 * 64)
    monkeypatch.setattr(tiles, "TILE_SIDE", 64)
    image = scene(90, 120)
    data = codec.encode(image, quality=90)
    file = ImageFile.read(data)
    assert file.header.layers == (1, 1)
    assert file.header.plan.count > 2
    start = file.describe().levels[0].prefix_bytes
    with pytest.warns(PartialPictureWarning, match="1 of 2 levels"):
        shown = ImageFile.read(data[:start], rescue=True).render(codec.runtime, codec.progress)
    assert psnr(image, np.asarray(codec.decode(data))) > psnr(image, np.asarray(shown)) > 15


def test_absurd_layers_are_refused(codec: ImageCodec, monkeypatch: pytest.MonkeyPatch) -> None:
    header = ImageFile.read(in_layers(codec, scene(64, 72), monkeypatch)).header
    for layers in ((2, 0), (3, 1), (1, 1, 0)):
        with pytest.raises(CorruptFileError, match="layer"):
            ImageHeader.read(replace(header, layers=layers).write())


GOLDEN = {
    "rgb": "importance",
    "rgba": "greedy",
    "grey-tiled": "rejection",
    "rgb-trellis": "trellis",
    "sliced-trellis": "trellis",
    "sliced-bisecting": "greedy-poisson-bisecting",
    "grown-layers": "trellis",
}


@pytest.mark.parametrize("name", GOLDEN)
def test_released_files_decode_for_ever(
    make_codec: Make,
    small_ladder: Callable[[], SlicedLadder],
    fixtures: Path,
    monkeypatch: pytest.MonkeyPatch,
    name: str,
) -> None:
    """`WRITE_GOLDEN=1` writes files of this version; released ones are never rewritten."""
    path = fixtures / "image" / "1" / f"{name}.lac"
    if name.startswith("sliced"):
        ladder = small_ladder()

        def make_codec(coder: str = "trellis") -> ImageCodec:
            return ImageCodec(ladder, "small", b"sliced01", coder)

    if name.startswith("grown"):
        monkeypatch.setattr(codec_module, "LAYER_BYTES", 100)

        def make_codec(coder: str = "trellis") -> ImageCodec:
            return ImageCodec(grown(), "grown", b"growing1", coder, tune="ms-ssim")

    if os.environ.get("WRITE_GOLDEN"):
        image = Image.fromarray(scene(61, 83))
        if name == "rgba":
            image.putalpha(Image.fromarray(scene(61, 83, 1)[..., 2]))
        elif name == "grey-tiled":
            image = image.convert("L")
            monkeypatch.setattr(tiles, "MAX_TILE_PIXELS", 64 * 64)
            monkeypatch.setattr(tiles, "TILE_SIDE", 64)
        data = make_codec(GOLDEN[name]).encode(image, quality=60)
        path.write_bytes(data)
        make_codec().decode(data).save(path.with_suffix(".png"))
        pytest.fail(f"wrote {path.name}: review it, then run again without WRITE_GOLDEN")
    decoded = make_codec().decode(path.read_bytes())
    with Image.open(path.with_suffix(".png")) as expected:
        assert decoded.mode == expected.mode
        assert difference(decoded, expected) <= 1
