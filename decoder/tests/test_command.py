"""The command: what it writes, and what it says about files that it cannot decode."""

import hashlib
import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from laconic_decoder import __version__, container, image, models, network
from laconic_decoder.cli import main
from laconic_decoder.container import Fields, LacError, open_lac
from PIL import Image

FIXTURES = Path(__file__).parents[2] / "tests" / "fixtures"
PICTURE = FIXTURES / "example" / "picture.lac"
NETWORK = FIXTURES / "example" / "network.lac"


@pytest.fixture(autouse=True)
def _own_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))


def test_a_picture_is_written_once(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    out = tmp_path / "deep" / "one.png"
    assert main([str(PICTURE), "-o", str(out)]) == 0
    assert np.asarray(Image.open(out)).tolist() == [[0, 80, 160], [240, 255, 7]]
    assert main([str(PICTURE), "-o", str(out)]) == 1
    assert "exists" in capsys.readouterr().err
    assert main([str(PICTURE), "-o", str(out), "--force"]) == 0
    assert [path.name for path in out.parent.iterdir()] == ["one.png"]


def test_the_input_is_never_replaced(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = tmp_path / "picture.png"
    path.write_bytes(PICTURE.read_bytes())
    assert main([str(path), "-o", str(path), "--force"]) == 1
    assert path.read_bytes() == PICTURE.read_bytes()
    assert "another name" in capsys.readouterr().err


def test_a_network_becomes_safetensors(tmp_path: Path) -> None:
    assert main([str(NETWORK), "-o", str(tmp_path / "w.safetensors")]) == 0
    data = (tmp_path / "w.safetensors").read_bytes()
    header = json.loads(data[8 : 8 + int.from_bytes(data[:8], "little")])
    assert header["w"]["shape"] == [3]
    assert header["__metadata__"] == {"from": "docs"}
    assert main([str(NETWORK), "-o", str(tmp_path / "w.png")]) == 1


def test_a_map_becomes_an_mrc_file(tmp_path: Path) -> None:
    file = FIXTURES / "map" / "1" / "blobs.lac"
    assert main([str(file), "-o", str(tmp_path / "blobs.mrc")]) == 0
    size = (tmp_path / "blobs.mrc").stat().st_size
    assert size == file.with_suffix(".mrc").stat().st_size
    assert main([str(file), "-o", str(tmp_path / "blobs.png")]) == 1


def test_version(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        main(["--version"])
    assert capsys.readouterr().out.strip() == __version__


REFUSED = {
    "rubbish": (b"hello", "no .lac file"),
    "empty": (b"", "no .lac file"),
    "version": (b"\x89LAC\x02", "newer decoder"),
    "header": (b"\x89LAC\x01\x05abc", "cut short"),
}


@pytest.mark.parametrize("name", REFUSED)
def test_rubbish_is_one_line(name: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    data, message = REFUSED[name]
    path = tmp_path / "in.lac"
    path.write_bytes(data)
    assert main([str(path)]) == 1
    error = capsys.readouterr().err
    assert message in error
    assert error.count("\n") == 1
    assert not (tmp_path / "in.png").exists()


@pytest.mark.parametrize(
    "path",
    [PICTURE, NETWORK, FIXTURES / "image/1/rgb-trellis.lac", FIXTURES / "lossless/1/single.lac"],
    ids=lambda path: path.stem,
)
def test_damage_is_found_by_checksums(path: Path) -> None:
    data = path.read_bytes()
    for place in range(0, len(data), max(1, len(data) // 60)):
        broken = data[:place] + bytes([data[place] ^ 16]) + data[place + 1 :]
        with pytest.raises(LacError):
            open_lac(broken)
    for size in range(0, len(data), max(1, len(data) // 40)):
        with pytest.raises(LacError):
            open_lac(data[:size])
    with pytest.raises(LacError, match="too many"):
        open_lac(data + b"\0")


def with_checksums(path: Path, place: int, value: int) -> bytes:
    """A file with another byte in its sections or its own header, and right checksums."""
    import zlib

    lac = open_lac(path.read_bytes())
    own, parts = bytearray(lac.header.data), [bytearray(part) for _, part in lac.sections]
    for part in (own, *parts):
        if place < len(part):
            part[place] = value
            break
        place -= len(part)
    out = bytes([container.WORDS.index(lac.codec)]) + leb(len(own)) + bytes(own) + leb(len(parts))
    for (name, _), part in zip(lac.sections, parts, strict=True):
        check = zlib.crc32(part).to_bytes(4, "little")
        out += leb(container.WORDS.index(name)) + leb(len(part)) + check
    head = b"\x89LAC\x01" + leb(len(out)) + out
    return head + zlib.crc32(head).to_bytes(4, "little") + b"".join(map(bytes, parts))


def leb(value: int) -> bytes:
    out = b""
    while value > 127:
        out, value = out + bytes([value & 127 | 128]), value >> 7
    return out + bytes([value])


@pytest.mark.parametrize("path", [NETWORK, FIXTURES / "network/1/codebook.lac"])
def test_damage_with_right_checksums_raises_only_our_error(path: Path) -> None:
    random = np.random.default_rng(0)
    size = sum(len(part) for _, part in open_lac(path.read_bytes()).sections) + 1
    for _ in range(60):
        data = with_checksums(path, int(random.integers(size)), int(random.integers(256)))
        try:
            network.decode_network(open_lac(data))
        except LacError:
            continue


def test_size_is_limited_before_memory_is_taken(capsys: pytest.CaptureFixture[str]) -> None:
    assert main([str(PICTURE), "--max-pixels", "5"]) == 1
    assert "3 x 2 pixels are more than --max-pixels 5" in capsys.readouterr().err


def test_a_model_that_is_not_here(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = FIXTURES / "lossless" / "1" / "colour.lac"
    assert main([str(path), "-o", str(tmp_path / "x.png")]) == 1
    error = capsys.readouterr().err
    assert "needs the model 'causal' with the fingerprint 63617573616c2020" in error
    assert "--models" in error


def test_models_are_found_by_fingerprint_and_kept(tmp_path: Path) -> None:
    source = Path(__file__).parents[2] / "src" / "laconic" / "pretrained" / "pixels.lac"
    fingerprint = hashlib.sha256(source.read_bytes()).digest()[:8]
    with pytest.raises(LacError, match="not here"):
        models.find_weights("pixels", bytes(8), [source.parent])
    config, tensors = models.find_weights("pixels", fingerprint, [source.parent])
    assert config["name"] == "pixels"
    again = models.find_weights("pixels", fingerprint, [models.cache_folder()])
    assert again[0] == config
    assert all(np.array_equal(again[1][name], value) for name, value in tensors.items())
    assert models.make_model(*again).levels == 0
    with pytest.raises(LacError, match="only the package laconic-codec"):
        models.make_model({"name": "pln"}, {})


def test_integers_have_one_form() -> None:
    assert Fields(b"\xff\xff\xff\xff\xff\xff\xff\xff\xff\x01").integer() == 2**64 - 1
    for wrong in (b"\x80\x00", b"\xff" * 10, b"\x80"):
        with pytest.raises(LacError):
            Fields(wrong).integer()


def test_metadata_come_with_the_picture(tmp_path: Path) -> None:
    from laconic_decoder.cli import Writer

    picture: Any = Image.new("RGB", (2, 2))
    extras = image.Extras(b"", b"II*\0\x08\0\0\0\0\0\0\0\0\0", b"<x/>", (72.0, 72.0))
    Writer(PICTURE, False).picture(tmp_path / "x.png", extras.attach(picture))
    with Image.open(tmp_path / "x.png") as again:
        assert again.info["xmp"] == b"<x/>"
        assert round(again.info["dpi"][0]) == 72
        assert again.info["exif"].startswith(b"Exif\0\0II*")


def test_start_needs_neither_torch_nor_numba() -> None:
    code = "import sys, laconic_decoder.cli; print(sorted({'torch', 'numba'} & set(sys.modules)))"
    place = Path(__file__).parents[1]
    found = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True, cwd=place
    )
    assert found.stdout.strip() == "[]"
