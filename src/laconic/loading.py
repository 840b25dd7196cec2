"""Which model codes or decodes a file, loaded at the moment when a picture needs it."""

from collections.abc import Callable
from typing import TYPE_CHECKING

from laconic.arguments import PathLike, to_path
from laconic.progress import Progress

if TYPE_CHECKING:
    from laconic.codecs.lossless.codec import LosslessCodec
    from laconic.codecs.lossless.file import LosslessFile
    from laconic.pretrained import Pretrained


def lossless_codec(
    load: "Callable[[], Pretrained]",
    threads: int | None,
    progress: Progress | None,
    effort: int | None = None,
) -> "LosslessCodec":
    """The lossless codec; the model is loaded when a picture needs it."""
    from laconic.codecs.lossless import codec as lossless
    from laconic.codecs.lossless.direct.choice import EFFORT

    def core() -> lossless.Core:
        loaded = load()
        coder = lossless.make_coder(loaded.model, threads)
        return lossless.Core(coder, loaded.name, loaded.fingerprint)

    return lossless.LosslessCodec(core, progress, EFFORT if effort is None else effort)


def loader_of_lossless(model: PathLike | None) -> "Callable[[], Pretrained]":
    """Loads the model that new lossless files are written with."""

    def load() -> "Pretrained":
        from laconic import pretrained

        return pretrained.load(model_name(model) or pretrained.LOSSLESS_DEFAULT)

    return load


def loader_for(file: "LosslessFile", model: PathLike | None) -> "Callable[[], Pretrained]":
    """Loads the model that a lossless file was written with."""

    def load() -> "Pretrained":
        from laconic import pretrained

        return pretrained.load_for(file.header.model or "", model_name(model))

    return load


def model_name(model: PathLike | None) -> str | None:
    """A model's name or path as a text."""
    return None if model is None else str(to_path("model", model))
