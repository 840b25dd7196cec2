"""Headers of lossless files: every field comes back, absurd and unknown ones are refused."""

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from laconic.codecs.base import ModelId
from laconic.codecs.lossless.grid import Grid
from laconic.codecs.lossless.header import (
    Bundle,
    ChainEntry,
    GroupEntry,
    LosslessHeader,
    Parts,
    read_bundles,
    split_tiles,
    write_bundles,
)
from laconic.codecs.lossless.picture import Kind
from laconic.container import FieldReader, FieldWriter
from laconic.errors import CorruptFileError, LaconicError, UnsupportedFileError
from laconic.limits import MAX_PIXELS

sizes = st.integers(0, 1 << 40)


@st.composite
def bundles(draw: st.DrawFn, most: int = 5) -> Bundle:
    pictures = draw(st.integers(1, most))
    grid = Grid(draw(st.integers(4, 99)), draw(st.integers(4, 99)))
    if draw(st.booleans()):
        rows, columns = draw(st.integers(1, 4)), draw(st.integers(1, 4))
        grid = Grid(grid.height // rows * rows, grid.width // columns * columns, rows, columns)
    kind = draw(st.sampled_from([kind for kind in Kind if not kind.is_deep(False)]))
    alphas = tuple(draw(sizes) for _ in range(pictures)) if draw(st.booleans()) else ()
    count = pictures * grid.count
    first = draw(st.integers(1, count))
    chains = [ChainEntry(first, draw(st.integers(0, first)), draw(sizes))]
    if count > first:
        chains.append(ChainEntry(count - first, 0, draw(sizes)))
    run = draw(st.integers(1, pictures))
    return Bundle(
        pictures=pictures,
        kind=kind,
        grid=grid,
        orientation=draw(st.integers(1, 8)),
        profile=draw(st.none() | st.integers(0, 9)),
        alphas=alphas if kind.bits == 8 else (),  # Without a model 16 bits have alpha, too.
        groups=(GroupEntry(draw(sizes), tuple(chains)),),
        run=run,
        checks=tuple(draw(st.integers(0, 2**32 - 1)) for _ in range(-(-pictures // run))),
    )


@pytest.mark.slow
@given(st.lists(bundles(), max_size=4))
def test_lists_come_back(given: list[Bundle]) -> None:
    writer = FieldWriter()
    write_bundles(given, writer)
    reader = FieldReader(writer.finish())
    assert list(read_bundles(reader, sum(bundle.pictures for bundle in given))) == given
    reader.finish()


@pytest.mark.slow
@given(bundles(1), st.booleans(), sizes, sizes, st.none() | st.integers(0, 99))
def test_headers_come_back(
    bundle: Bundle, profiles: bool, ideal: int, net: int, pictures: int | None
) -> None:
    single = bundle if pictures is None else None
    header = LosslessHeader(ModelId("pixels", b"12345678"), pictures, profiles, ideal, net, single)
    assert LosslessHeader.read(header.write()) == header


@given(st.binary(max_size=60))
def test_arbitrary_bytes_raise_only_our_errors(data: bytes) -> None:
    for read in (
        lambda: LosslessHeader.read(b"\1\43" + data),
        lambda: read_bundles(FieldReader(data), 3),
    ):
        try:
            read()
        except LaconicError:
            continue


def fields(*values: int) -> FieldReader:
    writer = FieldWriter()
    for value in values:
        writer.integer(value)
    writer.raw(bytes(8))
    return FieldReader(writer.finish())


@pytest.mark.parametrize(
    ("values", "words"),
    [
        ((0, 0, 4, 4), "no pictures"),
        ((2, 0, 0, 4), "impossible"),
        ((2, 64, 5, 4, 2, 1, 0, 1, 4, 1, 9, 1), "one group of equal tiles"),
        ((1, 64, 4, 4, 1, 1, 0, 1, 1, 1, 9, 1), "contradicts"),
        ((1, 32, 4, 4, 1, 0, 1, 1, 1, 9, 1), "contradicts"),
        ((1, 10, 4, 4, 3, 0, 1, 1, 1, 9, 1), "contradicts"),
        ((2, 0, 4, 4, 0, 1, 2, 1, 9, 0), "contradicts"),
        ((2, 0, 4, 4, 0, 0), "without chains"),
        ((2, 0, 4, 4, 0, 1, 0, 0, 9), "no pictures"),
        ((2, 0, 4, 4, 0, 1, 3, 0, 9), "above 2"),
        ((20, 0, 2048, 2048, 0, 1, 20, 0, 9, 20), "more than 67108864 samples"),
        ((20, 128, 2048, 2048, 1, *[9] * 20, 20), "share a checksum"),
    ],
)
def test_contradictions_are_refused(values: tuple[int, ...], words: str) -> None:
    with pytest.raises(CorruptFileError, match=words):
        Bundle.read(fields(*values), archive=True, limit=20, parts=Parts())


def test_newer_files_are_named() -> None:
    for kind in (6, 7, 256):
        with pytest.raises(UnsupportedFileError, match="update"):
            Bundle.read(fields(1, kind, 4, 4), archive=True, limit=1, parts=Parts())
    good = LosslessHeader(ModelId("pixels", b"12345678"), 3, False, 0, 0, None).write()
    for place, value in ((0, 3), (10, 64)):
        data = bytearray(good)
        data[place] = value
        with pytest.raises(UnsupportedFileError, match="update"):
            LosslessHeader.read(bytes(data))


def test_groups_must_end_where_the_size_of_tiles_changes() -> None:
    grid = Grid(5, 4, 2, 1)
    one = GroupEntry(0, (ChainEntry(1, 0, 1),))
    assert [len(tiles) for _, tiles in split_tiles(grid, (one, one))] == [1, 1]
    for groups in ((GroupEntry(0, (ChainEntry(2, 0, 1),)),), (one,)):
        with pytest.raises(CorruptFileError, match="tiles"):
            split_tiles(grid, groups)


def test_16_bits_with_several_channels_need_a_method() -> None:
    grid = Grid(4, 5, most=MAX_PIXELS)
    direct = Bundle(1, Kind.RGB_16, grid, 1, None, (0,), (), 1, (7,), method=5, sizes=(9,))
    for bundle in (direct, replace(direct, kind=Kind.GREY_16), replace(direct, alphas=())):
        writer = FieldWriter()
        bundle.write(writer, archive=True)
        assert read_bundles(FieldReader(writer.finish()), 1) == (bundle,)
    group = GroupEntry(0, (ChainEntry(1, 1, 9),))
    modelled = replace(direct, groups=(group,), method=0, sizes=(), alphas=(9,))
    for bundle in (modelled, replace(modelled, kind=Kind.GREY_16), replace(modelled, alphas=())):
        writer = FieldWriter()
        bundle.write(writer, archive=True)
        with pytest.raises(CorruptFileError, match="contradicts"):
            read_bundles(FieldReader(writer.finish()), 1)
