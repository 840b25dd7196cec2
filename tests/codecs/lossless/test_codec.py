"""The lossless codec around its core: what goes in comes back, overhead, cuts, alterations."""

import gzip
import zlib
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from laconic.codecs.base import Content, ModelId
from laconic.codecs.lossless import bundles, grid
from laconic.codecs.lossless import file as lossless_file
from laconic.codecs.lossless.codec import Core, LosslessCodec, Source
from laconic.codecs.lossless.core import EncodedGroup, GroupCoder, Samples, Tick
from laconic.codecs.lossless.file import LosslessFile, make_coder
from laconic.codecs.lossless.picture import ExactPicture
from laconic.container import Section, pack, unpack
from laconic.errors import (
    ConfigError,
    CorruptFileError,
    InputError,
    LaconicError,
    UnsupportedFileError,
)
from laconic.models.pixel_ladder.ladder import PixelLadder
from laconic.models.pixel_ladder.networks import PixelLadderConfig
from laconic.models.pyramid import Pyramid

RNG = np.random.default_rng(0)
MakeCodec = Callable[..., LosslessCodec]


@pytest.fixture(scope="module")
def make(make_stand_in: Callable[..., GroupCoder]) -> MakeCodec:
    def codec(
        most: int = 4096, fingerprint: bytes = b"12345678", **options: object
    ) -> LosslessCodec:
        return LosslessCodec(Core(make_stand_in(most), "pixels", fingerprint), **options)  # type: ignore[arg-type]

    return codec


@pytest.fixture(scope="module")
def codec(make: MakeCodec) -> LosslessCodec:
    return make()


def noise(*shape: int, dtype: type = np.uint8) -> np.ndarray:
    return RNG.integers(0, 2**16 if dtype is np.uint16 else 256, shape, dtype)


def sources(arrays: list[np.ndarray], pattern: str = "{:05d}.png") -> list[Source]:
    return [(pattern.format(k), (lambda array=array: array)) for k, array in enumerate(arrays)]


def unarchived(codec: LosslessCodec, data: bytes, partial: bool = False) -> dict[str, np.ndarray]:
    file = LosslessFile.read(data, partial)
    return {name: np.asarray(image) for name, image in codec.unarchive(file)}


def recovered(codec: LosslessCodec, data: bytes) -> tuple[dict[str, np.ndarray], str, int]:
    """Pictures of a truncated archive, what is said of it, and how many had no checksum."""
    found: dict[str, np.ndarray] = {}
    try:
        for name, image in codec.unarchive(LosslessFile.read(data, partial=True)):
            found[name] = np.asarray(image)
    except CorruptFileError as error:
        said = str(error)
        doubt = int(said.split("the last ")[1].split()[0]) if "the last" in said else 0
        return found, said, doubt
    pytest.fail("a truncated archive passed for whole")


def header_bytes(data: bytes) -> int:
    """Everything but what encodes pixels, alpha and profiles."""
    info = LosslessFile.read(data).describe()
    return len(data) - (info.start_bits + info.chain_bits + info.alpha_bits) // 8


PICTURES = {
    "one pixel": noise(1, 1, 3),
    "RGB": noise(31, 17, 3),
    "grey": noise(31, 17),
    "16 bits": noise(31, 17, dtype=np.uint16),
    "bilevel": noise(31, 17) > 99,
    "equal RGB": np.repeat(noise(31, 17, 1), 3, 2),
    "LA": noise(31, 17, 2),
    "RGBA": noise(31, 17, 4),
    "opaque": np.dstack([noise(31, 17, 3), np.full((31, 17), 255, np.uint8)]),
    "wide": noise(1, 1500, 3),
    "tall": noise(1500, 2),
    "four sizes of tiles": noise(513, 1025, 3),
    "even tiles": noise(514, 600, dtype=np.uint16),
}


@pytest.mark.parametrize("name", PICTURES)
def test_one_picture(make: MakeCodec, name: str) -> None:
    array, ticks = PICTURES[name], []
    codec = make(most=2, progress=lambda done, total: ticks.append((done, total)))
    data = codec.encode(array)
    back = codec.decode(LosslessFile.read(data))
    assert np.array_equal(np.asarray(back), array)
    assert np.asarray(back).dtype == array.dtype
    assert data == make(most=2).encode(Image.fromarray(array))
    info = LosslessFile.read(data).describe()
    assert (info.width, info.height, info.mode, info.pictures) == (*back.size, back.mode, 1)
    assert info.file_bits == 8 * len(data) == sum(info.sections.values())
    assert info.samples == array.size
    assert info.kinds[0].tiles == -(-array.shape[0] // 512) * -(-array.shape[1] // 512)
    assert ticks[-1] == (info.kinds[0].tiles,) * 2


@pytest.mark.slow
@given(
    height=st.integers(1, 40),
    width=st.integers(1, 40),
    kind=st.sampled_from(["b", "u1", "u2", "2", "3", "4"]),
    side=st.integers(1, 20),
    samples=st.integers(1, 900),
    most=st.integers(1, 5),
)
@settings(max_examples=60, deadline=None)
def test_any_size_tile_and_group(
    make: MakeCodec, height: int, width: int, kind: str, side: int, samples: int, most: int
) -> None:
    channels = () if kind[0] in "bu" else (int(kind),)
    array = noise(height, width, *channels, dtype=np.uint16 if kind == "u2" else np.uint8)
    array = array > 99 if kind == "b" else array
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(grid, "TILE_SIDE", side)
        patch.setattr(bundles, "GROUP_SAMPLES", samples)
        data = make(most).encode(array)
        several = make(most).archive(sources([array, array, array]))
    assert np.array_equal(np.asarray(make().decode(LosslessFile.read(data))), array)
    for back in unarchived(make(), several).values():
        assert np.array_equal(back, array)


@pytest.mark.slow
@pytest.mark.parametrize("levels", [0, 2])
def test_the_real_core_behind_the_seam(levels: int) -> None:
    """An untrained model: every kind of picture, alone and in an archive that is cut."""
    sizes = {"strides": (4, 2)[:levels], "latents": (3, 3)[:levels], "widths": (4, 4)[:levels]}
    model = PixelLadder(PixelLadderConfig(**sizes, context_width=0 if levels else 4)).eval()
    codec = LosslessCodec(Core(make_coder(model), "pixels", b"12345678"))
    for name in ("RGB", "16 bits", "bilevel", "LA"):
        array = PICTURES[name]
        data = codec.encode(array)
        assert np.array_equal(np.asarray(codec.decode(LosslessFile.read(data))), array)
        info = LosslessFile.read(data).describe()
        assert 0.9 * info.theory_bits < info.start_bits + info.chain_bits < info.theory_bits + 200
    arrays = [noise(6, 5) for _ in range(20)]
    data = codec.archive(sources(arrays))
    found, _, doubt = recovered(codec, data[: len(data) * 2 // 3])
    assert 0 < doubt == len(found) < 20  # a single checksum covers all of so few bytes
    for array, back in zip(arrays, found.values(), strict=False):
        assert np.array_equal(array, back)


def test_profile_and_orientation(codec: LosslessCodec) -> None:
    image = Image.fromarray(noise(20, 30, 3))
    image.info["icc_profile"] = RNG.bytes(100_000)
    image.getexif()[0x0112] = 6
    back = codec.decode(LosslessFile.read(codec.encode(image)))
    assert back.info["icc_profile"] == image.info["icc_profile"]
    assert back.getexif()[0x0112] == 6
    assert np.array_equal(np.asarray(back), np.asarray(image))


def test_archive_of_all_kinds(make: MakeCodec) -> None:
    arrays = [*PICTURES.values(), noise(31, 17, 3), noise(31, 17), noise(513, 1025, 3)]
    images = [Image.fromarray(array) for array in arrays]
    images[1].info["icc_profile"] = images[2].info["icc_profile"] = b"profile" * 99
    images[3].getexif()[0x0112] = 8
    ticks: list[tuple[int, int]] = []
    codec = make(progress=lambda done, total: ticks.append((done, total)))
    given_sources = [(f"a/{k}.png", lambda image=image: image) for k, image in enumerate(images)]
    data = codec.archive(given_sources)
    assert ticks[-1][0] == ticks[-1][1]
    found = dict(make().unarchive(LosslessFile.read(data)))
    assert found.keys() == {name for name, _ in given_sources}
    for k, (image, array) in enumerate(zip(images, arrays, strict=True)):
        back = found[f"a/{k}.png"]
        assert back.mode == image.mode
        assert np.array_equal(np.asarray(back), array)
        assert back.info.get("icc_profile") == image.info.get("icc_profile")
        assert back.getexif().get(0x0112) == image.getexif().get(0x0112)
    info = LosslessFile.read(data).describe()
    assert info.pictures == len(images) == sum(kind.pictures for kind in info.kinds)
    assert (info.width, info.height, info.mode, info.archive) == (None, None, None, True)
    assert info.file_bits == sum(info.sections.values())


def test_pictures_of_one_kind_are_one_group_whatever_lies_between(codec: LosslessCodec) -> None:
    small, large = [noise(8, 8) for _ in range(5)], [noise(9, 8) for _ in range(4)]
    mixed = [picture for pair in zip(small, [*large, large[0]], strict=True) for picture in pair]
    info = LosslessFile.read(codec.archive(sources(mixed))).describe()
    assert [(kind.height, kind.pictures, kind.chains) for kind in info.kinds] == [
        (8, 5, 1),
        (9, 5, 1),
    ]


def test_groups_stay_small(make: MakeCodec, monkeypatch: pytest.MonkeyPatch) -> None:
    """No call of the core gets more samples than `GROUP_SAMPLES`, however large the input."""
    monkeypatch.setattr(bundles, "GROUP_SAMPLES", 64 * 64 * 10)
    monkeypatch.setattr(grid, "TILE_SIDE", 64)
    codec, sizes = make(), []
    plain = codec.core.coder.encode

    def encode(pixels: Samples, tick: Tick) -> EncodedGroup:
        sizes.append(pixels.size)
        return plain(pixels, tick)

    monkeypatch.setattr(codec.core.coder, "encode", encode)
    picture = noise(640, 1000)
    data = codec.archive(sources([picture] + [noise(20, 20) for _ in range(250)]))
    assert max(sizes) <= 64 * 64 * 10
    assert np.array_equal(unarchived(codec, data)["00000.png"], picture)


@pytest.mark.parametrize("height", [512, 768, 500, 1000])
def test_overhead_of_one_picture(codec: LosslessCodec, height: int) -> None:
    assert header_bytes(codec.encode(noise(height, 128, 3))) < 60
    assert header_bytes(codec.encode(noise(height, 128, 4))) < 66


@pytest.mark.slow
def test_overhead_of_an_archive(codec: LosslessCodec, data_root: Path) -> None:
    """10,000 MNIST digits at 19 bytes each, as a good model writes them: below 0.5 %."""
    path = data_root / "mnist" / "t10k-images-idx3-ubyte.gz"
    if not path.is_file():
        pytest.skip("no MNIST in the data folder")
    digits = np.frombuffer(gzip.decompress(path.read_bytes())[16:], np.uint8).reshape(-1, 28, 28)

    class Tight:
        """Writes 19 bytes a picture, none of them readable."""

        def encode(self, pixels: Samples, tick: Tick) -> EncodedGroup:
            whole = codec.core.coder.encode(pixels[:16])
            chain = whole.chains[0]
            data = (chain.data * 100)[: 19 * len(pixels) // 16]
            each = type(chain)(len(pixels) // 16, 1, data)
            return EncodedGroup(b"", (each,) * 16)

        decode = codec.core.coder.decode

    data = LosslessCodec(Core(Tight(), "pixels", b"12345678")).archive(sources(list(digits)))
    assert len(digits) == 10_000
    checks = sum(len(bundle.checks) for bundle in LosslessFile.read(data).bundles)
    assert 190_000 < len(data) < 190_000 * 1.005
    assert 4 * checks <= 0.001 * len(data)


def test_checksums_cover_every_picture(codec: LosslessCodec) -> None:
    """Whatever single sample the core gets wrong, decoding says so."""
    arrays = [noise(5, 6) for _ in range(300)]
    data = codec.archive(sources(arrays))
    assert LosslessFile.read(data).bundles[0].run > 1
    for wrong in (0, 150, 299):

        class Wrong:
            encode = codec.core.coder.encode

            def decode(self, *arguments: object, wrong: int = wrong) -> Iterator[Samples]:
                for index, picture in enumerate(codec.core.coder.decode(*arguments)):  # type: ignore[arg-type]
                    if index == wrong:
                        picture[2, 3, 0] ^= 1
                    yield picture

        bad = LosslessCodec(Core(Wrong(), "pixels", b"12345678"))
        with pytest.raises(CorruptFileError, match="checksum"):
            unarchived(bad, data)
    single = codec.encode(arrays[0])
    with pytest.raises(CorruptFileError, match="checksum"):
        LosslessCodec(Core(Wrong(), "pixels", b"12345678")).decode(_with_first_wrong(single))


def _with_first_wrong(data: bytes) -> LosslessFile:
    """The file with another checksum in its header, as if the picture had been another."""
    container = unpack(data)
    header = bytearray(container.header)
    header[-1] ^= 1
    return LosslessFile.read(pack(container.codec, bytes(header), container.sections))


@pytest.fixture
def cut_case(
    make: MakeCodec, monkeypatch: pytest.MonkeyPatch
) -> tuple[LosslessCodec, bytes, list[np.ndarray]]:
    """An archive of small and large pictures in several sections."""
    monkeypatch.setattr(lossless_file, "SECTION_BYTES", 1 << 11)
    monkeypatch.setattr(bundles, "RUN_BYTES", 1 << 9)
    monkeypatch.setattr(grid, "TILE_SIDE", 16)
    arrays = [noise(8, 8) for _ in range(60)] + [noise(20, 21, 4), noise(33, 20, 3), noise(9, 9)]
    codec = make(most=16)
    return codec, codec.archive(sources(arrays)), arrays


@pytest.mark.slow
def test_every_cut_leaves_the_pictures_before_it(
    cut_case: tuple[LosslessCodec, bytes, list[np.ndarray]],
) -> None:
    codec, data, arrays = cut_case
    front = len(data) - sum(len(section.data) for section in unpack(data).sections)
    front += len(unpack(data).named("manifest")[0])
    last = 0
    for size in range(front, len(data), 29):
        with pytest.raises(CorruptFileError, match="truncated"):
            LosslessFile.read(data[:size])
        found, said, _ = recovered(codec, data[:size])
        assert f": {len(found)} of {len(arrays)} pictures" in said
        assert list(found) == [f"{k:05d}.png" for k in range(len(found))]
        for k, back in enumerate(found.values()):
            assert np.array_equal(back, arrays[k])
        assert len(found) >= last
        last = len(found)
    assert last >= len(arrays) - 1


def test_a_cut_says_what_no_checksum_vouches_for(
    cut_case: tuple[LosslessCodec, bytes, list[np.ndarray]],
) -> None:
    codec, data, _ = cut_case
    run = LosslessFile.read(data).bundles[0].run
    assert 1 < run < 60
    doubts = set()
    for size in range(len(data) // 4, len(data) // 3, 11):
        found, _, doubt = recovered(codec, data[:size])
        assert len(found) < 60
        assert doubt == len(found) % run
        doubts.add(doubt)
    assert len(doubts) > 1


def test_a_cut_before_the_pixels_is_said(
    cut_case: tuple[LosslessCodec, bytes, list[np.ndarray]],
) -> None:
    codec, data, _ = cut_case
    container = unpack(data)
    front = len(data) - sum(len(section.data) for section in container.sections)
    for size in (front, front + len(container.named("manifest")[0]) - 1):
        with pytest.raises(CorruptFileError, match="none of 63 pictures"):
            LosslessFile.read(data[:size], partial=True)
    for size in (0, 3, 5, 20, front - 1):
        with pytest.raises(CorruptFileError):
            LosslessFile.read(data[:size], partial=True)
    single = codec.encode(noise(9, 9))
    with pytest.raises(CorruptFileError, match="truncated"):
        LosslessFile.read(single[:-1], partial=True)


def test_altered_sections_are_refused_even_before_a_cut(
    cut_case: tuple[LosslessCodec, bytes, list[np.ndarray]],
) -> None:
    _, data, _ = cut_case
    sections = unpack(data).sections
    assert len(sections) > 3
    start = len(data) - sum(len(section.data) for section in sections)
    altered = bytearray(data[:-10])
    altered[start + len(sections[0].data) + 5] ^= 1
    with pytest.raises(CorruptFileError, match="'pixels' is damaged"):
        LosslessFile.read(bytes(altered), partial=True)


def test_an_altered_cut_section_gives_no_wrong_picture_unannounced(
    cut_case: tuple[LosslessCodec, bytes, list[np.ndarray]],
) -> None:
    codec, data, arrays = cut_case
    sections = unpack(data).sections
    start = len(data) - sum(len(section.data) for section in sections) + len(sections[0].data)
    for bit in range(0, 8 * len(sections[1].data) // 2, 97):
        altered = bytearray(data[: start + len(sections[1].data) - 20])
        altered[start + bit // 8] ^= 1 << bit % 8
        found, _, doubt = recovered(codec, bytes(altered))
        for k, back in enumerate(list(found.values())[: len(found) - doubt]):
            assert np.array_equal(back, arrays[k])


def test_other_models_and_kinds_of_file_are_named(make: MakeCodec, codec: LosslessCodec) -> None:
    single, many = codec.encode(noise(4, 4)), codec.archive(sources([noise(4, 4)]))
    other = make(fingerprint=b"another.")
    with pytest.raises(UnsupportedFileError, match="'pixels'"):
        other.decode(LosslessFile.read(single))
    with pytest.raises(UnsupportedFileError, match="'pixels'"):
        other.unarchive(LosslessFile.read(many))
    with pytest.raises(UnsupportedFileError, match="archive of 1 pictures"):
        codec.decode(LosslessFile.read(many))
    with pytest.raises(UnsupportedFileError, match="no archive"):
        codec.unarchive(LosslessFile.read(single))
    with pytest.raises(UnsupportedFileError, match="not 'lossless'"):
        LosslessFile.read(pack("image", b"", [Section("latents", b"")]))
    with pytest.raises(ConfigError, match="lossy"):
        make_coder(Pyramid())


def test_bad_requests(codec: LosslessCodec, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(InputError, match="no pictures"):
        codec.archive([])
    with pytest.raises(InputError, match="twice"):
        codec.archive(sources([noise(4, 4), noise(4, 4)], "same"))
    with pytest.raises(InputError, match=r"b\.png: an array"):
        codec.archive([("b.png", lambda: np.zeros((4, 4), float))])
    with pytest.raises(InputError, match="too many"):
        codec.encode(np.zeros((1, 65537), np.uint8))
    changing = iter([noise(4, 4), noise(4, 5)])
    with pytest.raises(InputError, match="changed"):
        codec.archive([("a.png", lambda: next(changing))])
    monkeypatch.setattr(lossless_file, "MAX_PROFILE_BYTES", 1000)
    image = Image.fromarray(noise(4, 4))
    image.info["icc_profile"] = b"x" * 2000
    with pytest.raises(InputError, match="profiles"):
        codec.encode(image)


def test_same_bytes_every_time(make: MakeCodec) -> None:
    arrays = [noise(6, 5, 3) for _ in range(9)]
    assert make().archive(sources(arrays)) == make().archive(sources(arrays))


def test_hostile_lists_with_right_checksums_raise_only_our_errors(codec: LosslessCodec) -> None:
    """An attacker who can write a file can write checksums: the fields alone must be safe."""
    many = unpack(codec.archive(sources([noise(5, 6), noise(5, 6, 4), noise(7, 6, 3)])))
    single = unpack(codec.encode(noise(9, 9, 4)))
    generator = np.random.default_rng(3)
    for trial in range(600):
        source = (many, single)[trial % 2]
        header, sections = bytearray(source.header), list(source.sections)
        if source is many and trial % 4:
            plain = bytearray(zlib.decompress(sections[0].data))
            for _ in range(1 + trial % 3):
                plain[int(generator.integers(len(plain)))] = int(generator.integers(256))
            sections[0] = Section("manifest", zlib.compress(bytes(plain)))
        else:
            for _ in range(1 + trial % 3):
                header[int(generator.integers(len(header)))] = int(generator.integers(256))
        try:
            file = LosslessFile.read(pack("lossless", bytes(header), sections))
            list(codec.unarchive(file)) if file.content is Content.ARCHIVE else codec.decode(file)
        except LaconicError:
            continue


def test_the_first_pictures_choose_the_model(make_stand_in: Callable[..., GroupCoder]) -> None:
    asked = []

    def choose(pictures: Sequence[ExactPicture]) -> Core:
        asked.append(len(pictures))
        return Core(make_stand_in(4096), "chosen", b"chosen!!")

    codec = LosslessCodec(lambda: pytest.fail("not the default"), choose=choose)
    arrays = [noise(8, 9, 3), noise(8, 9, 3), noise(5, 5)]
    data = codec.archive(sources(arrays))
    assert LosslessFile.read(data).header.model == ModelId("chosen", b"chosen!!")
    assert asked == [2]
