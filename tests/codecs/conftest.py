"""A codec over the ladder without weights."""

from collections.abc import Callable

import pytest

from laconic.codecs.image import ImageCodec
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
