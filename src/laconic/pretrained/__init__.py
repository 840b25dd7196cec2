"""The embedded models: weights, as our own network codec packs them, and which model a file needs.

Released weights are a safetensors file in half precision; `experiments/embedded/pack.py` makes of
it the .lac file that is embedded. Importing this module imports no weights and no torch: a model is
loaded when a picture needs it.
"""

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from importlib import resources
from pathlib import Path
from typing import TYPE_CHECKING

from laconic.arguments import PathLike, to_path
from laconic.codecs.base import Crop, Decoding, LoadedModel, ModelId
from laconic.errors import ConfigError, LaconicError, UnsupportedFileError
from laconic.limits import MAX_PIXELS
from laconic.pretrained.registry import find_earlier
from laconic.progress import Progress, silent

if TYPE_CHECKING:
    from torch import Tensor, dtype

    from laconic.codecs.lossless.codec import LosslessCodec
    from laconic.codecs.lossless.picture import ExactPicture

DEFAULT = "photo2"
"""Name of the model that `laconic compress` uses."""
LOSSLESS_MODELS = ("pixels2", "pixels")
"""Names of the models of which `laconic compress --lossless` takes the one that suits a picture."""
LOSSLESS_DEFAULT = LOSSLESS_MODELS[0]
"""Name of the one for pictures that are not in colour."""


@dataclass(frozen=True)
class Pretrained(LoadedModel):
    """An embedded or released model; its fingerprint is the first 16 bytes of its file's SHA-256.

    Attributes:
        steps: training iterations behind the weights.
    """

    steps: int


def load(name: str | Path = DEFAULT) -> Pretrained:
    """Load an embedded model by name, or any released weights by path; cached.

    Raises:
        ConfigError: no such model, or the file is damaged.
    """
    return _load(str(name))


def load_for(written: ModelId, given: str | Path | None = None) -> Pretrained:
    """The model that a file names: the present one of its name, or an earlier one.

    Args:
        written: name and fingerprint in the file.
        given: name or path of a model to take instead.

    Raises:
        UnsupportedFileError: the file names a model that is not embedded.
        ConfigError: no such model is given.
    """
    if given is not None:
        return load(given)
    if not written.name.replace("-", "_").isidentifier():
        raise UnsupportedFileError(
            f"the file names the model {written.name!r}, which is no embedded model"
        )
    try:
        return load(find_earlier(written) or written.name)
    except ConfigError as error:
        raise UnsupportedFileError(
            f"the file was written with the model {written}, which this laconic does not have "
            "(`laconic models` lists those it has); name the model's file by --model or model="
        ) from error


def decoding(
    model: PathLike | None = None,
    threads: int | None = None,
    progress: Progress | None = None,
    dtype: str = "float32",
    crop: Crop | None = None,
    max_pixels: int | None = None,
) -> Decoding:
    """How a file is decoded: with the model of this name or path, or the one that it names."""

    def find(written: ModelId) -> Pretrained:
        return load_for(written, model_name(model))

    most = MAX_PIXELS if max_pixels is None else max_pixels
    return Decoding(find, dtype, threads, progress or silent, crop, most)


def lossless_codec(
    model: PathLike | None,
    threads: int | None,
    progress: Progress | None,
    effort: int | None = None,
) -> "LosslessCodec":
    """The codec that writes lossless files with the model of this name or path.

    None: the model among `LOSSLESS_MODELS` that suits the first pictures best.
    """
    from laconic.codecs.lossless.codec import Core, LosslessCodec
    from laconic.codecs.lossless.direct.choice import EFFORT

    def core(name: str = model_name(model) or LOSSLESS_DEFAULT) -> Core:
        from laconic.codecs.lossless.file import make_coder

        loaded = load(name)
        return Core(make_coder(loaded.model, threads), loaded.name, loaded.fingerprint)

    def choose(pictures: Sequence["ExactPicture"]) -> Core:
        from laconic.codecs.lossless.cheapest_model import cheapest

        models = [load(name).model for name in LOSSLESS_MODELS]
        return core(LOSSLESS_MODELS[cheapest(models, pictures)])

    chosen = choose if model is None else None
    return LosslessCodec(core, progress, EFFORT if effort is None else effort, chosen)


def model_name(model: PathLike | None) -> str | None:
    """A model's name or path as a text."""
    return None if model is None else str(to_path("model", model))


@lru_cache(maxsize=4)
def _load(name: str) -> Pretrained:
    from laconic.models import make_model

    path = Path(name)
    if path.suffix not in (".safetensors", ".lac"):
        path = Path(str(resources.files("laconic.pretrained") / f"{name}.lac"))
    if not path.is_file():
        raise ConfigError(
            f"{name}: no such model; give an embedded model's name, a .lac or a .safetensors file"
        )
    try:
        state, notes = _read_weights(path)
        meta = json.loads(notes["meta"])
        model = make_model(meta["model"])
        model.load_state_dict(state)
    except (OSError, LaconicError, KeyError, RuntimeError, json.JSONDecodeError) as error:
        raise ConfigError(f"{path}: not released weights ({error})") from error
    fingerprint = hashlib.sha256(path.read_bytes()).digest()[:16]
    return Pretrained(model.eval().requires_grad_(False), path.stem, fingerprint, int(meta["step"]))


def _read_weights(path: Path) -> tuple[dict[str, "Tensor"], Mapping[str, str]]:
    """Tensors in float32, and the file's notes."""
    if path.suffix == ".lac":
        return unpack(path.read_bytes())
    from laconic.data.weights.tensors import open_weights

    source, notes = open_weights(path)
    return {name: fetch().float() for name, (_, fetch) in source.items()}, notes


def unpack(data: bytes) -> tuple[dict[str, "Tensor"], Mapping[str, str]]:
    """Tensors in float32 and notes of a packed file; kept unpacked for the next time.

    Args:
        data: a .lac file of a network.
    """
    from laconic.pretrained.unpacked import keep, read_kept

    digest = hashlib.sha256(data).hexdigest()
    found = read_kept(digest)
    if found is None:
        from laconic.codecs.network.file import NetworkFile

        packed = NetworkFile.read(data)
        state = {entry.name: tensor.float() for entry, tensor in packed.tensors()}
        found = state, packed.metadata
        keep(digest, found)
    return found


def release(checkpoint: Path, path: Path) -> None:
    """Turn a training checkpoint into released weights: the averaged weights in half precision.

    Raises:
        ConfigError: the checkpoint is damaged.
    """
    from laconic.training.checkpoints import load_average

    average, meta = load_average(checkpoint)
    _check_finite(average, checkpoint)
    save_released(average, json.dumps({key: meta[key] for key in ("model", "step")}), path)


def save_released(state: Mapping[str, "Tensor"], meta: str, path: Path) -> None:
    """Write released weights, in half precision.

    Args:
        state: of the model.
        meta: the model's configuration and its steps, as JSON; that of other released weights if
            the model is the same.
        path: of the file.

    Raises:
        ConfigError: a number does not fit half precision.
    """
    from safetensors.torch import save_file

    half = {name: value.contiguous().to(_stored_dtype(name)) for name, value in state.items()}
    _check_finite(half, path)
    ordered = json.dumps(json.loads(meta), sort_keys=True)
    save_file(half, path, metadata={"meta": ordered})


def _stored_dtype(name: str) -> "dtype":
    import torch

    # Variances span five orders of magnitude and are few.
    return torch.float32 if name.endswith(".variance") else torch.float16


def _check_finite(state: Mapping[str, "Tensor"], source: Path) -> None:
    import torch

    broken = [name for name, tensor in state.items() if not bool(torch.isfinite(tensor).all())]
    if broken:
        raise ConfigError(
            f"{source}: {broken[0]} does not fit half precision; train on or lower the rate"
        )
