"""A codec over the ladder without weights; golden files of networks."""

import os
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file

import laconic
from laconic.codecs.image.codec import ImageCodec
from laconic.models.pyramid import Pyramid

FINGERPRINT = b"pyramid!"


@pytest.fixture(scope="session")
def make_codec() -> Callable[..., ImageCodec]:
    """Codecs with the pyramid; keyword arguments go to `ImageCodec`."""

    def make(coder: str = "importance", **options: object) -> ImageCodec:
        return ImageCodec(Pyramid(), "pyramid", FINGERPRINT, coder, **options)  # type: ignore[arg-type]

    return make


@pytest.fixture(scope="session")
def codec(make_codec: Callable[..., ImageCodec]) -> ImageCodec:
    """The pyramid with importance sampling."""
    return make_codec()


@pytest.fixture
def check_golden(fixtures: Path) -> Callable[[str, Callable[[], bytes]], None]:
    """Whether a released network file decodes as ever.

    `WRITE_GOLDEN=1` writes the file of this version; a released one is never rewritten.
    """

    def check(name: str, make: Callable[[], bytes]) -> None:
        path = fixtures / "network" / "1" / f"{name}.lac"
        if os.environ.get("WRITE_GOLDEN"):
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(make())
            save_file(laconic.expand(path), path.with_suffix(".safetensors"))
            pytest.fail(f"wrote {path.name}: review it, then run again without WRITE_GOLDEN")
        expected, back = load_file(path.with_suffix(".safetensors")), laconic.expand(path)
        assert back.keys() == expected.keys()
        for key, tensor in expected.items():
            assert back[key].dtype == tensor.dtype, key
            assert back[key].shape == tensor.shape, key
            bits = [one.reshape(-1).view(torch.uint8) for one in (back[key], tensor)]
            assert torch.equal(*bits), key

    return check
