"""Names of pictures: all come back, regular ones cost nothing, none leads outside."""

import zlib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from laconic.codecs.lossless.names import check_names, find_fault, read_names, write_names
from laconic.container import FieldReader, FieldWriter
from laconic.errors import CorruptFileError, InputError, LaconicError

letters = st.characters(exclude_categories=("Cc", "Cs"), exclude_characters="/\\")
parts = st.text(letters, min_size=1, max_size=12).filter(lambda part: part not in (".", ".."))
paths = st.lists(parts, min_size=1, max_size=3).map("/".join)
numbered = st.builds("{}{:03d}{}".format, parts, st.integers(0, 10**19), st.just(".png"))
names = st.one_of(paths, numbered).filter(lambda name: not find_fault(name))


def written(given: list[str]) -> bytes:
    writer = FieldWriter()
    write_names(given, writer)
    return writer.finish()


@pytest.mark.slow
@given(st.lists(names, max_size=20, unique=True))
def test_round_trip(given: list[str]) -> None:
    check_names(given)
    reader = FieldReader(written(given))
    assert read_names(reader, len(given)) == given
    reader.finish()


def test_round_trip_in_order_and_counting() -> None:
    given = [f"a/{k}.png" for k in (7, 8, 9, 10, 11, 99, 100, 10**17, 10**18 - 1, 10**18)]
    given += ["x9y1", "x9y2", "x9z2", "00", "01", "1", "9" * 30 + "x", "9" * 12 + "0" * 18 + "x"]
    assert read_names(FieldReader(written(given)), len(given)) == given


def test_regular_names_cost_nothing() -> None:
    given = [f"train/{k:05d}.png" for k in range(10_000)]
    assert len(zlib.compress(written(given), 9)) < 60
    steps = [f"{3 * k:06d}.png" for k in range(10_000)]
    assert len(zlib.compress(written(steps), 9)) < 60


HOSTILE = [
    "../a.png", "/etc/passwd", "a/../../b.png", "a//b", "a/", ".", "", "..", "a\\..\\b", "C:x.png",
    "c:/x", "a\0b", "a\nb", "./a", "a/./b", "x" * 5000, "\udc80.png", "\x7f",
]  # fmt: skip


@pytest.mark.parametrize("name", HOSTILE)
def test_names_that_lead_outside_are_refused_both_ways(name: str) -> None:
    with pytest.raises(InputError, match="rename"):
        check_names(["good.png", name])
    writer = FieldWriter()
    writer.integer(1)
    data = name.encode("utf-8", "surrogateescape")
    writer.integer(len(data))
    writer.raw(data)
    with pytest.raises(CorruptFileError):
        read_names(FieldReader(writer.finish()), 1)


def test_twice_the_same_name_is_refused_both_ways() -> None:
    with pytest.raises(InputError, match="twice"):
        check_names(["a", "b", "a"])
    with pytest.raises(CorruptFileError, match="same name"):
        read_names(FieldReader(written(["a", "b", "a"])), 3)


@given(st.binary(max_size=60), st.integers(0, 9))
def test_arbitrary_bytes_raise_only_our_errors(data: bytes, count: int) -> None:
    try:
        found = read_names(FieldReader(data), count)
    except LaconicError:
        return
    check_names(found)


def test_counting_on_needs_a_number() -> None:
    with pytest.raises(CorruptFileError, match="no number"):
        read_names(FieldReader(b"\0"), 1)
