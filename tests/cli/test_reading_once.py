"""A command unpacks, checks and parses a .lac file once, on a path through few modules."""

import sys
import threading
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from types import FrameType
from typing import Any

import numpy as np
import pytest
import torch
from typer.testing import CliRunner

import laconic
from laconic.cli import app
from laconic.codecs.base import find_codec
from laconic.codecs.image.codec import ImageCodec
from laconic.container import file as container_file
from laconic.container import unpack
from laconic.models.pyramid import Pyramid

RNG = np.random.default_rng(0)


@pytest.fixture
def counts(monkeypatch: pytest.MonkeyPatch) -> Counter[object]:
    """How often each piece of a file was checked, and how often each codec opened a file."""
    found: Counter[object] = Counter()
    checksum = container_file._crc

    def count_pieces(data: bytes) -> bytes:
        found[bytes(data)] += 1
        return checksum(data)

    monkeypatch.setattr(container_file, "_crc", count_pieces)
    for name in ("image", "lossless", "network"):
        codec = find_codec(name)

        monkeypatch.setattr(codec, "open", counting(codec.open, found, name))
    return found


def counting(call: Callable[..., Any], found: Counter[object], name: str) -> Callable[..., Any]:
    def count(*arguments: Any) -> Any:
        found[name] += 1
        return call(*arguments)

    return count


def picture(*shape: int) -> np.ndarray:
    return RNG.integers(0, 256, shape, np.uint8)


def image_file() -> bytes:
    codec = ImageCodec(Pyramid(), "pyramid", b"pyramid, sixteen", "importance")
    return codec.encode(picture(16, 16, 4))


def lossless_file() -> bytes:
    return laconic.compress(picture(9, 9, 3), lossless=True, effort=1)


def archive_file() -> bytes:
    return laconic.archive([picture(9, 9), picture(9, 8)], effort=1)


def network_file() -> bytes:
    return laconic.shrink({"w": torch.arange(2000.0).reshape(40, 50), "n": torch.arange(3)})


@pytest.mark.parametrize(
    ("command", "write", "options"),
    [
        ("decompress", image_file, ["-o", "{}/a.png"]),
        ("decompress", lossless_file, ["-o", "{}/a.png"]),
        ("decompress", archive_file, ["-o", "{}/a"]),
        ("expand", network_file, ["-o", "{}/a.safetensors"]),
        ("info", image_file, []),
        ("info", lossless_file, ["--json"]),
        ("info", archive_file, ["--list"]),
        ("info", network_file, ["--json"]),
    ],
)
def test_a_file_is_unpacked_checked_and_opened_once(
    tmp_path: Path,
    counts: Counter[object],
    command: str,
    write: Callable[[], bytes],
    options: list[str],
) -> None:
    data = write()
    path = tmp_path / "a.lac"
    path.write_bytes(data)
    file = unpack(data)
    counts.clear()
    result = CliRunner().invoke(
        app, [command, str(path), *(option.format(tmp_path) for option in options)]
    )
    assert result.exit_code == 0, result.stderr
    assert counts.pop(file.codec) == 1
    assert sum(counts.values()) == 1 + len(file.sections)  # the front, and each section
    for section in file.sections:
        assert counts[section.data] == 1


@pytest.mark.parametrize("options", [["--lossless", "--effort", "1"], ["--quality", "40"]])
def test_compress_opens_what_it_has_written_once(
    tmp_path: Path, counts: Counter[object], options: list[str]
) -> None:
    from PIL import Image

    Image.fromarray(picture(16, 16, 3)).save(tmp_path / "a.png")
    result = CliRunner().invoke(app, ["compress", str(tmp_path / "a.png"), *options])
    assert result.exit_code == 0, result.stderr
    assert counts["image"] + counts["lossless"] == 1


PATH_OF_DECOMPRESS = {
    "cli", "cli.common", "cli.decompress", "cli.outputs", "pretrained", "pretrained.registry",
    "codecs.base", "cores",
    *(f"codecs.image.{name}" for name in ("decoder", "file", "header", "metadata")),
    "codecs.image.picture", "codecs.image.tiles",
    "container.fields", "container.file", "container.storage", "paths",
}  # fmt: skip
"""Modules whose functions run when a lossy picture is decoded, but for models and coders."""

LOWER = (
    "coding", "data", "deep_image", "distributions", "models", "networks", "threads", "waiting",
    "errors",
)  # fmt: skip


def test_decompress_runs_functions_of_few_modules(tmp_path: Path) -> None:
    visited = set[str]()

    def note(frame: FrameType, event: str, argument: object) -> None:
        module = str(frame.f_globals.get("__name__"))
        if event == "call" and module.startswith("laconic."):
            visited.add(module.removeprefix("laconic."))

    (tmp_path / "a.lac").write_bytes(image_file())
    command = ["decompress", str(tmp_path / "a.lac"), "-o", str(tmp_path / "a.png"), "--force"]
    for watch in (None, note):  # The first run imports everything.
        threading.setprofile(watch)
        sys.setprofile(watch)
        try:
            result = CliRunner().invoke(app, command)
        finally:
            sys.setprofile(None)
            threading.setprofile(None)  # type: ignore[arg-type]
        assert result.exit_code == 0, result.stderr
    upper = {module for module in visited if module.partition(".")[0] not in LOWER}
    assert "codecs.image.file" in upper
    assert upper <= PATH_OF_DECOMPRESS | {"codecs.image.alpha"}, sorted(upper)
