"""The look-up of codecs, and what all headers share."""

from pathlib import Path

import numpy as np
import pytest
import torch

import laconic
from laconic.codecs.base import (
    CODECS,
    CoderSetting,
    Content,
    Decoding,
    ModelId,
    find_codec,
    open_file,
)
from laconic.coding.relative_entropy import CODERS
from laconic.container import FieldReader, FieldWriter, pack
from laconic.errors import CorruptFileError, InputError, UnsupportedFileError


@pytest.mark.parametrize("name", CODECS)
def test_the_table_names_classes_by_their_permanent_names(name: str) -> None:
    assert find_codec(name).id == name


def test_every_kind_of_file_opens(fixtures: Path) -> None:
    files = {
        "image/1/rgb.lac": Content.PICTURE,
        "lossless/1/single.lac": Content.PICTURE,
        "lossless/1/archive.lac": Content.ARCHIVE,
        "network/1/mixed.lac": Content.NETWORK,
        "map/1/blobs.lac": Content.MAP,
    }
    for name, content in files.items():
        data = (fixtures / name).read_bytes()
        file = open_file(data)
        assert file.content is content
        file.expect(content)
        for other in set(Content) - {content}:
            with pytest.raises(UnsupportedFileError, match=f"holds {file.words}"):
                file.expect(other)
        info = laconic.open(data).info
        assert info.codec == file.id
        assert info.file_bits == 8 * len(data)


def test_networks_open_like_pictures() -> None:
    data = laconic.shrink({"w": torch.arange(4.0)})
    opened = laconic.open(data)
    assert torch.equal(opened.tensors["w"], torch.arange(4.0))
    assert "weights of a network" in repr(opened)
    with pytest.raises(UnsupportedFileError, match="no picture; expand it"):
        _ = opened.image
    with pytest.raises(UnsupportedFileError, match="no archive"):
        opened.images()


def test_archives_open_like_pictures() -> None:
    pictures = [np.full((4, 5), 7, np.uint8), np.full((3, 3), 9, np.uint8)]
    opened = laconic.open(laconic.archive(pictures, effort=1))
    assert [np.asarray(image).mean() for _, image in opened.images()] == [7, 9]
    with pytest.raises(UnsupportedFileError, match="no weights"):
        _ = opened.tensors


def test_unknown_codecs_are_named() -> None:
    with pytest.raises(UnsupportedFileError, match=r"'newer'.*update"):
        open_file(pack("newer", b"", []))


def test_only_archives_may_be_truncated(fixtures: Path) -> None:
    image = (fixtures / "image/1/rgb.lac").read_bytes()
    with pytest.raises(CorruptFileError, match="truncated: its sections take"):
        open_file(image[:-1], partial=True)
    archive = (fixtures / "lossless/1/archive.lac").read_bytes()
    assert open_file(archive[:-1], partial=True).content is Content.ARCHIVE
    with pytest.raises(CorruptFileError, match="truncated"):
        open_file(archive[:-1])


def test_a_model_is_checked_by_its_fingerprint() -> None:
    with pytest.raises(ValueError, match="at least 8 bytes"):
        ModelId.of("tiny", b"short")
    written = ModelId.of("tiny", b"12345678 and more")
    assert written == ModelId("tiny", b"12345678")
    written.check(ModelId("of another name", b"12345678"))
    with pytest.raises(UnsupportedFileError, match=r"'tiny' \(3132.*'big' \("):
        written.check(ModelId("big", b"87654321"))
    with pytest.raises(UnsupportedFileError, match="needs the model 'tiny'"):
        Decoding().model(written)


def test_coder_settings_go_round() -> None:
    for coder in (CODERS["trellis"](), CODERS["importance"]()):
        writer = FieldWriter()
        CoderSetting.of(coder).write(writer)
        reader = FieldReader(writer.finish())
        assert CoderSetting.read(reader).make() == coder
        reader.finish()
    with pytest.raises(UnsupportedFileError, match="'newer'"):
        CoderSetting("newer", {}).make()
    with pytest.raises(InputError, match="33 parameters, a file holds 32"):
        CoderSetting("c", {str(k): k for k in range(33)}).write(FieldWriter())
