"""Which model encodes or decodes a file; it is loaded when a picture needs it."""

from typing import TYPE_CHECKING

from laconic.arguments import PathLike, to_path
from laconic.codecs.base import Decoding
from laconic.progress import Progress, silent

if TYPE_CHECKING:
    from laconic.codecs.lossless.codec import LosslessCodec
    from laconic.pretrained import Pretrained


def decoding(
    model: PathLike | None = None,
    threads: int | None = None,
    progress: Progress | None = None,
    dtype: str = "float32",
) -> Decoding:
    """How a file is decoded: with the model of this name or path, or the one that it names."""

    def load(written: str) -> "Pretrained":
        from laconic import pretrained

        return pretrained.load_for(written, model_name(model))

    return Decoding(load, dtype, threads, progress or silent)


def lossless_codec(
    model: PathLike | None,
    threads: int | None,
    progress: Progress | None,
    effort: int | None = None,
) -> "LosslessCodec":
    """The codec that writes lossless files with the model of this name or path, or the default."""
    from laconic.codecs.lossless.codec import Core, LosslessCodec
    from laconic.codecs.lossless.direct.choice import EFFORT

    def core() -> Core:
        from laconic import pretrained
        from laconic.codecs.lossless.file import make_coder

        loaded = pretrained.load(model_name(model) or pretrained.LOSSLESS_DEFAULT)
        return Core(make_coder(loaded.model, threads), loaded.name, loaded.fingerprint)

    return LosslessCodec(core, progress, EFFORT if effort is None else effort)


def model_name(model: PathLike | None) -> str | None:
    """A model's name or path as a text."""
    return None if model is None else str(to_path("model", model))
