"""Every codec goes through the conformance suite, and the suite catches codecs that break it."""

import zlib
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from functools import cache, partial
from typing import Any, ClassVar, Self
from unittest import SkipTest

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from PIL import Image

import laconic
from laconic.codecs.base import CODECS, Codec, Content, Decoding, FileInfo, LoadedModel
from laconic.codecs.image.codec import ImageCodec
from laconic.codecs.image.file import ImageFile
from laconic.codecs.lossless.codec import Core, LosslessCodec
from laconic.codecs.lossless.file import LosslessFile, make_coder
from laconic.codecs.network.file import NetworkFile
from laconic.codecs.volume import codec as volume
from laconic.codecs.volume.file import VolumeFile
from laconic.container import FieldReader, FieldWriter, LacFile, Section, pack
from laconic.data.microscopy.maps import map_bytes
from laconic.errors import CorruptFileError, LaconicError
from laconic.map_file import MapFile
from laconic.models import make_model
from laconic.models.base import LatentVariableModel
from laconic.models.pixel_ladder.ladder import PixelLadder, PixelLadderConfig
from laconic.models.pyramid import Pyramid
from laconic.testing import CodecCase, CodecSuite

FINGERPRINT = b"of tests"


def noise(*shape: int, dtype: type = np.uint8) -> NDArray[Any]:
    return np.random.default_rng(1).integers(0, 256, shape).astype(dtype)


def smooth(height: int, width: int, channels: int) -> NDArray[np.uint8]:
    rows, columns = np.mgrid[:height, :width]
    waves = [np.sin(rows / 7 + k) + np.cos(columns / 9 - k) for k in range(channels)]
    return (127 + 60 * np.stack(waves, 2)).astype(np.uint8)


class TestImage(CodecSuite):
    codec = ImageFile
    drift = 1.0

    def cases(self) -> Mapping[str, CodecCase]:
        codec = ImageCodec(Pyramid(), "tiny", FINGERPRINT, "importance")
        pictures = {"RGB": smooth(24, 40, 3), "RGBA": smooth(17, 9, 4)}
        return {
            name: CodecCase(partial(codec.encode, picture, 90), {"": picture}, tolerance=8)
            for name, picture in pictures.items()
        }

    def decoding(self) -> Decoding:
        return Decoding(lambda written: LoadedModel(Pyramid(), "tiny", FINGERPRINT))


class TestPhotographs(CodecSuite):
    """The image codec with a small model of the kind that is embedded, and with one that has taste:
    integer priors, the trellis coder, several layers."""

    codec = ImageFile
    drift = 1.0
    trials = 6

    def cases(self) -> Mapping[str, CodecCase]:
        picture = smooth(24, 40, 4)
        return {
            name: CodecCase(partial(_write_in_layers, name, picture), {"": picture}, tolerance=24)
            for name in ("sliced", "grown")
        }

    def decoding(self) -> Decoding:
        return Decoding(
            lambda written: LoadedModel(ladder(written.name), written.name, FINGERPRINT)
        )


def _write_in_layers(name: str, picture: NDArray[np.uint8]) -> bytes:
    tune = "ms-ssim" if name == "grown" else None
    codec = ImageCodec(ladder(name), name, FINGERPRINT, tune=tune)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("laconic.codecs.image.codec.LAYER_BYTES", 100)
        return codec.encode(picture, 95)


@cache
def ladder(name: str) -> LatentVariableModel:
    sizes = {"fine_width": 8, "coarse_width": 8, "prior_width": 8, "embedding": 4}
    settings = {"name": "sliced", "block": 4, "slices": (3, 24), "top": 2} | sizes
    if name == "grown":
        settings |= {"taste": True, "passes": (2, 1), "refiner_width": 8, "kernel": 3}
    torch.manual_seed(0)
    return make_model(settings).eval().requires_grad_(False)


class TestLossless(CodecSuite):
    codec = LosslessFile
    trials = 16

    def cases(self) -> Mapping[str, CodecCase]:
        with_model = LosslessCodec(Core(make_coder(model(), threads=1), "tiny", FINGERPRINT))
        without = LosslessCodec(with_model.core, effort=1)
        deep, alpha = noise(4, 3, dtype=np.uint16), noise(3, 4, 4)
        many = {f"{k}.png": noise(2, 3 + k % 2, 3) for k in range(6)}
        # Pictures of one size follow each other in the file.
        sources = [(name, partial(np.asarray, array)) for name, array in many.items()]
        order = [*list(many)[::2], *list(many)[1::2]]
        return {
            "16 bits": CodecCase(lambda: with_model.encode(deep), {"": deep}),
            "RGBA": CodecCase(lambda: with_model.encode(alpha), {"": alpha}),
            "drawing": CodecCase(lambda: without.encode(smooth(8, 8, 3)), {"": smooth(8, 8, 3)}),
            "archive": CodecCase(
                lambda: with_model.archive(sources), {name: many[name] for name in order}
            ),
        }

    def decoding(self) -> Decoding:
        return Decoding(lambda written: LoadedModel(model(), "tiny", FINGERPRINT))


class TestNetwork(CodecSuite):
    codec = NetworkFile

    def cases(self) -> Mapping[str, CodecCase]:
        weights = torch.from_numpy(np.random.default_rng(2).normal(size=(40, 30))).float()
        tensors = {"w": weights, "b": weights[0].clone(), "again": weights, "n": torch.arange(5)}
        shrink = partial(laconic.shrink, tensors)
        order = {name: tensors[name] for name in ("n", "again", "b", "w")}
        return {
            "exact": CodecCase(partial(shrink, lossless=True), order),
            "quantised": CodecCase(partial(shrink, tolerance=0.05), order, tolerance=0.06),
        }


class TestVolume(CodecSuite):
    codec = VolumeFile

    def cases(self) -> Mapping[str, CodecCase]:
        cases = {}
        for size in (9, 16):
            density = smooth(size * size, size, 1).reshape((size,) * 3).astype(np.float32)
            given = MapFile(density, map_bytes(density, 2.0)[:1024])
            write = partial(volume.encode, given, np.full(size // 2 + 1, 0.9999))
            cases[f"{size} voxels"] = CodecCase(write, {"": density}, tolerance=8)
        return cases


@cache
def model() -> PixelLadder:
    return PixelLadder(PixelLadderConfig(strides=(), latents=(), widths=(), context_width=4)).eval()


def test_every_codec_has_its_suite() -> None:
    suites = (TestImage, TestLossless, TestNetwork, TestVolume)
    assert {suite.codec.id for suite in suites} == CODECS.keys()


@dataclass(frozen=True)
class Plain(Codec):
    """Grey pictures, deflated; or the same with a fault.

    Attributes:
        fault: "" or what is wrong.
    """

    id: ClassVar[str] = "plain"
    fault: ClassVar[str] = ""

    file: LacFile
    height: int
    width: int

    @classmethod
    def open(cls, file: LacFile) -> Self:
        fields = FieldReader(file.header)
        fields.revision(1)
        height, width = fields.integer(99), fields.integer(99)
        if cls.fault != "header":
            fields.finish()
        return cls(file, height, width)

    @property
    def content(self) -> Content:
        return Content.PICTURE

    def describe(self) -> FileInfo:
        bits = 8 * self.file.size_bytes - (self.fault == "bits")
        return FileInfo(file_bits=bits, codec=self.id, sections=self.file.section_bits())

    def decode(self, how: Decoding) -> Iterator[tuple[str, Image.Image]]:
        try:
            plain = zlib.decompress(self.file.only("pixels"))
        except zlib.error as error:
            if self.fault == "damage":
                raise
            raise CorruptFileError("the pixels are damaged") from error
        if len(plain) != self.height * self.width:
            raise CorruptFileError("the pixels do not match the header")
        pixels = np.frombuffer(plain, np.uint8).reshape(self.height, self.width).copy()
        pixels[0, 0] += self.fault == "pixel"
        pixels[0, 0] += self.fault == "threads" and torch.get_num_threads() == 3
        pixels[0, 0] += self.fault == "dtype" and how.dtype == "bfloat16"
        yield "x" if self.fault == "name" else "", Image.fromarray(pixels)


def write_plain(picture: NDArray[np.uint8]) -> bytes:
    fields = FieldWriter()
    for value in (1, *picture.shape):
        fields.integer(value)
    return pack("plain", fields.finish(), [Section("pixels", zlib.compress(picture.tobytes()))])


def suite_of(wrong: str) -> CodecSuite:
    class Wrong(Plain):
        fault = wrong

    class Suite(CodecSuite):
        codec = Wrong

        def cases(self) -> Mapping[str, CodecCase]:
            picture = smooth(9, 7, 1)[..., 0]
            write: Callable[[], bytes] = partial(write_plain, picture)
            if wrong == "bytes":
                write = iter([write_plain(picture), write_plain(picture + 1)]).__next__
            return {"grey": CodecCase(write, {"": picture})}

    return Suite()


SKIPPED = (
    "test_the_table_finds_the_codec",
    "test_a_truncated_file_gives_its_first_items",
    "test_a_damaged_file_is_shown_in_part",
)
LAWS = [name for name in dir(CodecSuite) if name.startswith("test_")]


@pytest.mark.parametrize("law", LAWS)
def test_a_right_codec_passes(law: str) -> None:
    try:
        getattr(suite_of(""), law)()
    except SkipTest:
        assert law in SKIPPED


@pytest.mark.parametrize(
    ("fault", "law"),
    [
        ("pixel", "test_round_trip"),
        ("name", "test_round_trip"),
        ("bits", "test_description"),
        ("threads", "test_same_bytes_and_items_for_any_thread_count"),
        ("bytes", "test_same_bytes_and_items_for_any_thread_count"),
        ("dtype", "test_items_in_every_precision"),
        ("header", "test_foreign_headers_are_reported"),
        ("damage", "test_damage_behind_right_checksums_raises_no_other_error"),
    ],
)
def test_a_wrong_codec_is_caught(fault: str, law: str) -> None:
    with pytest.raises((AssertionError, zlib.error)):
        getattr(suite_of(fault), law)()


def test_a_codec_that_accepts_damaged_files_is_caught(monkeypatch: pytest.MonkeyPatch) -> None:
    """The container finds all damage; without its checksums the suite must."""
    monkeypatch.setattr("laconic.container.file._crc", lambda data: bytes(4))
    suite = suite_of("")
    with pytest.raises((AssertionError, LaconicError)):
        suite.test_altered_files_are_reported()
