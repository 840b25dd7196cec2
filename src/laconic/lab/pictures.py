"""Points of the plane from released weights: pictures, measured at one operating point or many.

```
 folder ─► centre crops ─┬─ beta 1 ─► measure ─► MODEL-beta-1/result.json
                         ├─ beta 2 ─► ...        nothing is trained; what is finished stays
```

Lossy models give densities of pixels in [0, 1], so that their distortion may be below 0; lossless
ones give probabilities of bytes. Such points say which, under "density".
"""

import hashlib
import math
import warnings
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from laconic.data.exact_images import NAMED_FILES, LeftOutWarning
from laconic.data.folders import list_images, load_rgb
from laconic.errors import ConfigError, InputError
from laconic.evaluation.models.laboratory import take
from laconic.evaluation.models.measures import MeasureConfig
from laconic.evaluation.plane.points import FORMAT
from laconic.lab.contract import Findings, refuse_changes, written
from laconic.lab.runs import read_document, write_result
from laconic.models.base import LatentVariableModel
from laconic.pretrained import Pretrained
from laconic.training.config import build

MEASURE = {
    "train_images": 0,  # there are none
    "iwae_draws": 8,  # each as expensive as the whole rate and distortion
    "generated": 0,  # of thousands of latents, E and G say nothing
    "batch": 8,
}
"""Settings of what measures that differ from those of small images."""

SHARES = {"rate_distortion": (0.0, 0.1), "iwae": (0.1, 0.9)}
"""Where a stage of a point begins, and how much of the time it takes."""

Report = Callable[[dict[str, Any]], None]
"""Called with a point that is finished."""


@dataclass(frozen=True)
class CropConfig:
    """Which pictures are measured.

    Attributes:
        patch: side of the crops in pixels.
        images: how many pictures, one crop each.
        seed: of which ones.
    """

    patch: int = 128
    images: int = 24
    seed: int = 0


@dataclass(frozen=True)
class Crops:
    """Centres of pictures.

    Attributes:
        pixels: `(count, 3, side, side)` in [0, 1].
        source: the folder's name.
    """

    pixels: Tensor
    source: str

    @property
    def digest(self) -> str:
        """Sixteen hexadecimal digits that identify these pixels."""
        return hashlib.sha256(self.pixels.numpy().tobytes()).hexdigest()[:16]


def read_crops(folder: Path, config: CropConfig) -> Crops:
    """Centre crops of pictures of a folder, drawn by the seed; those too small are left out.

    Warns `LeftOutWarning` with the names of the small ones.

    Raises:
        InputError: no folder, a damaged picture, or fewer than two that are large enough.
    """
    paths = list_images(folder)
    order = np.random.default_rng(config.seed).permutation(len(paths))
    crops: list[NDArray[np.uint8]] = []
    small: list[str] = []
    for path in (paths[index] for index in order):
        if len(crops) == config.images:
            break
        pixels = load_rgb(path)
        if min(pixels.shape[:2]) < config.patch:
            small.append(path.name)
        else:
            crops.append(_centre(pixels, config.patch))
    if small:
        more = f" and {len(small) - NAMED_FILES} more" if len(small) > NAMED_FILES else ""
        named = ", ".join(sorted(small)[:NAMED_FILES]) + more
        message = f"left out, since smaller than {config.patch} pixels: {named}"
        warnings.warn(message, LeftOutWarning, stacklevel=2)
    if len(crops) < 2:
        raise InputError(
            f"{folder}: {len(crops)} pictures with both sides of {config.patch} pixels or more; "
            "measures need two, give other pictures or a smaller patch"
        )
    stacked = torch.from_numpy(np.stack(crops)).permute(0, 3, 1, 2).float() / 255
    return Crops(stacked.contiguous(), folder.resolve().name)


def _centre(pixels: NDArray[np.uint8], side: int) -> NDArray[np.uint8]:
    top, left = ((length - side) // 2 for length in pixels.shape[:2])
    return pixels[top : top + side, left : left + side]


def check_model(model: LatentVariableModel, config: CropConfig) -> None:
    """Raise `ConfigError` for a model of other images, or for crops that it cannot take."""
    if not model.takes_any_size:
        raise ConfigError("this is a model of small images, not of pictures; `laconic rd run` them")
    if config.patch < 1 or config.patch % model.stride:
        raise ConfigError(
            f"patch: {config.patch} pixels; the model takes multiples of {model.stride}"
        )
    if config.images < 2:
        raise ConfigError(f"images: {config.images} give no standard error; give 2 or more")


def choose_betas(
    model: LatentVariableModel, betas: Sequence[float], count: int
) -> tuple[float, ...]:
    """Operating points to measure.

    Args:
        model: with the range of betas that it serves.
        betas: those wanted; empty for `count` of equal ratios over the whole range.
        count: how many; a model with one beta has one in any case.

    Raises:
        ConfigError: a beta out of the range.
    """
    low, high = model.beta_range
    for beta in betas:
        if not low <= beta <= high:
            raise ConfigError(f"beta: {beta:g} is not between {low:g} and {high:g}, as trained for")
    if betas:
        return tuple(dict.fromkeys(betas))
    if low == high or count < 2:
        return (math.sqrt(low * high),) if low < high else (low,)
    inner = (low * (high / low) ** (index / (count - 1)) for index in range(1, count - 1))
    return (low, *(float(f"{beta:.3g}") for beta in inner), high)


def measure_pictures(
    weights: Pretrained,
    crops: Crops,
    betas: Sequence[float],
    config: CropConfig,
    out: Path,
    report: Report,
    progress: Callable[[int, int], None],
) -> list[str]:
    """Measure every operating point that has no result yet.

    Args:
        weights: a model of pictures.
        crops: by `read_crops`.
        betas: by `choose_betas`.
        config: of the crops.
        out: folder of the points, one folder for each.
        report: called with every point that is measured.
        progress: called with how much is done, and how much there is.

    Returns:
        Names of the points that had been measured before.

    Raises:
        ConfigError: a point is there already, but of other weights, pictures or settings.
    """
    shown = {**asdict(config), "images": len(crops.pixels), "pictures": crops.digest}
    left: list[tuple[float, Path, dict[str, Any]]] = []
    skipped = []
    for beta in betas:
        measure = build(MeasureConfig, {**MEASURE, "seed": config.seed, "beta": beta}, "measure")
        wanted: dict[str, Any] = {
            "weights": weights.fingerprint.hex(),
            "crops": shown,
            "measure": measure,
        }
        folder = out / f"{weights.name}-beta-{beta:.12g}"
        found = read_document(folder, FORMAT)
        if found is not None:
            remedy = f"remove {folder} to measure it again, or give another folder"
            refuse_changes(found.get("settings"), wanted, folder.name, remedy)
            skipped.append(folder.name)
        else:
            left.append((beta, folder, wanted))
    for index, (beta, folder, wanted) in enumerate(left):

        def watch(stage: str, done: int, total: int, index: int = index) -> None:
            start, share = SHARES.get(stage, (1.0, 0.0))
            part = start + share * done / max(total, 1)
            progress(round(1000 * (index + part)), 1000 * len(left))

        pixels = crops.pixels
        taken = take(weights.model, pixels[:0], pixels, wanted["measure"], {}, watch)
        folder.mkdir(parents=True, exist_ok=True)
        facts = {**_describe(weights, crops, beta), **taken.results}
        report(write_result(folder, FORMAT, Findings(facts, taken.grids), written(wanted)))
    return skipped


def _describe(weights: Pretrained, crops: Crops, beta: float) -> dict[str, Any]:
    """Everything about a point but what was measured."""
    side = crops.pixels.shape[-1]
    return {
        "name": f"{weights.name} beta {beta:.12g}",
        "family": weights.name,
        "objective": {"name": "beta", "beta": beta},
        "annealed": False,
        "data": f"{crops.source} {side}x{side}",
        "density": weights.model.shows_pictures,
        "images": len(crops.pixels),
        "steps": weights.steps,
        "parameters": sum(p.numel() for p in weights.model.parameters()),
    }
