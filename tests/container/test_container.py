"""The container: round trips, one spelling per value, and that any bytes raise only file errors."""

import zlib
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from laconic.container import (
    WORDS,
    FieldReader,
    FieldWriter,
    Section,
    pack,
    read_bytes,
    unpack,
    write_atomically,
)
from laconic.errors import CorruptFileError, FileError, InputError, UnsupportedFileError

names = st.sampled_from(WORDS) | st.text(max_size=20)
sections = st.lists(st.builds(Section, names, st.binary(max_size=200)), max_size=6)


@pytest.mark.slow
@given(names, st.binary(max_size=300), sections)
def test_round_trip(codec: str, header: bytes, parts: list[Section]) -> None:
    data = pack(codec, header, parts)
    container = unpack(data)
    assert (container.codec, container.header, list(container.sections)) == (codec, header, parts)
    sizes = len(header) + sum(len(part.data) for part in parts)
    assert container.overhead_bytes + sizes == len(data)


@given(st.binary(max_size=200))
@settings(max_examples=200)
def test_arbitrary_bytes_raise_only_file_errors(data: bytes) -> None:
    for candidate in (data, b"\x89LAC" + data, b"\x89LAC\x01" + data):
        with pytest.raises(FileError):
            unpack(candidate)


@given(st.binary(max_size=80))
@settings(max_examples=300)
def test_hostile_header_with_right_checksum_raises_only_file_errors(body: bytes) -> None:
    writer = FieldWriter()
    writer.raw(b"\x89LAC\x01")
    writer.integer(len(body))
    head = writer.finish() + body
    data = head + zlib.crc32(head).to_bytes(4, "little")
    try:
        container = unpack(data)
    except FileError:
        return
    assert pack(container.codec, container.header, container.sections) == data


@pytest.mark.slow
@given(names, st.binary(max_size=60), sections, st.data())
@settings(max_examples=200)
def test_every_flip_and_cut_is_found(
    codec: str, header: bytes, parts: list[Section], draw: st.DataObject
) -> None:
    data = pack(codec, header, parts)
    bit = draw.draw(st.integers(0, 8 * len(data) - 1))
    flipped = bytearray(data)
    flipped[bit // 8] ^= 1 << (bit % 8)
    with pytest.raises(FileError):
        unpack(bytes(flipped))
    with pytest.raises(FileError):
        unpack(data[: draw.draw(st.integers(0, len(data) - 1))])
    with pytest.raises(CorruptFileError, match="other bytes"):
        unpack(data + b"\x00")


@given(sections, st.data())
def test_a_cut_file_gives_the_sections_before_the_cut(
    parts: list[Section], draw: st.DataObject
) -> None:
    data = pack("image", b"header", parts)
    payload = sum(len(part.data) for part in parts)
    start = len(data) - payload
    size = draw.draw(st.integers(start, len(data)))
    found = unpack(data[:size], partial=True)
    assert found.missing_bytes == len(data) - size
    whole = [section for section in found.sections if section.whole]
    assert whole == parts[: len(whole)]
    cut = found.sections[len(whole) :]
    assert len(cut) == (size < len(data))
    assert b"".join(section.data for section in found.sections) == data[start:size]
    for section in cut:
        assert section.name == parts[len(whole)].name
    for broken in (data[: start - 1], data + b"\0"):
        with pytest.raises(FileError):
            unpack(broken, partial=True)


def test_an_altered_section_is_refused_even_in_a_cut_file() -> None:
    data = bytearray(pack("image", b"", [Section("latents", b"abc"), Section("alpha", b"defgh")]))
    data[-7] ^= 1
    with pytest.raises(CorruptFileError, match="'latents' is damaged"):
        unpack(bytes(data[:-2]), partial=True)
    data[-7] ^= 1
    found = unpack(bytes(data[:-2]), partial=True)
    assert [section.data for section in found.sections] == [b"abc", b"def"]
    assert [section.whole for section in found.sections] == [True, False]


def test_a_cut_says_how_much_is_missing_however_large_the_sections() -> None:
    data = pack("image", b"", [Section("latents", bytes(5000))])
    with pytest.raises(CorruptFileError, match="truncated: its sections take 5000 bytes and 0"):
        unpack(data[:-5000])


@given(st.lists(st.integers(0, 2**64 - 1)), st.lists(names), st.binary())
def test_fields_round_trip(integers: list[int], words: list[str], raw: bytes) -> None:
    writer = FieldWriter()
    for value in integers:
        writer.integer(value)
    for word in words:
        writer.word(word)
    writer.raw(raw)
    reader = FieldReader(writer.finish())
    assert [reader.integer() for _ in integers] == integers
    assert [reader.word() for _ in words] == words
    assert reader.raw(len(raw)) == raw
    reader.finish()


@given(st.lists(st.integers(-(2**62), 2**62)), st.lists(st.booleans(), max_size=20))
def test_signed_integers_and_flags_round_trip(integers: list[int], flags: list[bool]) -> None:
    writer = FieldWriter()
    writer.flags(*flags)
    for value in integers:
        writer.signed(value)
    reader = FieldReader(writer.finish())
    assert reader.flags(len(flags)) == tuple(flags)
    assert [reader.signed() for _ in integers] == integers
    reader.finish()


def test_zigzag_and_flags_are_what_they_were() -> None:
    writer = FieldWriter()
    for value in (0, -1, 1, -2, 2):
        writer.signed(value)
    writer.flags(True, False, True)
    assert writer.finish() == bytes([0, 1, 2, 3, 4, 5])
    with pytest.raises(UnsupportedFileError, match="unknown flags 5"):
        FieldReader(bytes([5])).flags(2)
    with pytest.raises(UnsupportedFileError, match=r"revision 3.*up to 2; update"):
        FieldReader(bytes([3])).revision(1, 2)


def test_sections_are_there_as_often_as_expected() -> None:
    file = unpack(
        pack("image", b"head", [Section("a", b"1"), Section("b", b"2"), Section("b", b"3")])
    )
    assert file.only("a") == file.optional("a", True) == b"1"
    assert file.optional("c", False) == b""
    assert file.section_bits() == {"header": 8 * (file.size_bytes - 3), "a": 8, "b": 16}
    for name, expected in (("b", True), ("b", False), ("a", False), ("c", True)):
        with pytest.raises(CorruptFileError, match=repr(name)):
            file.optional(name, expected)
    file.check_whole()


def test_words_are_unique_and_permanent() -> None:
    assert len(set(WORDS)) == len(WORDS)
    assert WORDS[:6] == ("image", "lossless", "network", "latents", "alpha", "icc")


@pytest.mark.parametrize(
    "data", [b"\x80\x00", b"\xff" * 11, b"\x80", b"", b"\x00\x05image"], ids=repr
)
def test_bad_fields(data: bytes) -> None:
    reader = FieldReader(data)
    with pytest.raises(CorruptFileError):
        reader.word() if data[:1] == b"\x00" else reader.integer()


def test_unknown_word_and_newer_version_are_unsupported() -> None:
    writer = FieldWriter()
    writer.integer(len(WORDS) + 1)
    with pytest.raises(UnsupportedFileError, match="newer"):
        FieldReader(writer.finish()).word()
    with pytest.raises(UnsupportedFileError, match="format 9"):
        unpack(b"\x89LAC\x09")


def test_plain_file_has_little_overhead() -> None:
    data = pack("image", b"", [Section("latents", b"x" * 12_000)])
    assert len(data) - 12_000 <= 20


def test_write_is_atomic(tmp_path: Path) -> None:
    target = tmp_path / "a.lac"
    write_atomically(target, b"one")
    write_atomically(target, b"two")
    assert read_bytes(target) == b"two"
    assert list(tmp_path.iterdir()) == [target]
    (tmp_path / "folder").mkdir()
    with pytest.raises(InputError, match="folder"):
        write_atomically(tmp_path / "folder", b"x")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["a.lac", "folder"]
    with pytest.raises(InputError, match="missing"):
        write_atomically(tmp_path / "missing" / "b.lac", b"x")
    write_atomically(target, b"three", survives_power_loss=False)
    assert read_bytes(target) == b"three"
    with pytest.raises(InputError, match="nothing"):
        read_bytes(tmp_path / "nothing")
