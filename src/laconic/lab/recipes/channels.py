"""Recipes of systems that communicate pictures over noisy channels.

```yaml
recipe: channels
system: {name: pair, kind: joint, beta: 0.01, numbers: 40}   # laconic.channels.systems.choice
channel: {name: awgn-real, snr_db: 5}                        # laconic.channels
data: {kind: faces, folder: freyfaces, split: train, batch: 64}
test: {split: test, images: 500}       # what differs from `data` for the images to measure with
validation: {split: valid}             # the same for images that settings are chosen with
loop: {steps: 3000}
rate: {peak: 1.0e-3}
draws: 4                               # of the channel for each test image
features: {network: lenet-192, data: cifar10}   # a classifier: adds a Fréchet distance
folder: runs/channels/example
```
"""

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, ClassVar, final

import numpy as np
import torch
from torch import Tensor

from laconic.channels import make_channel, read_channel
from laconic.channels.systems.bands import BandSystem
from laconic.channels.systems.base import System, SystemLoss
from laconic.channels.systems.choice import make_system, read_system
from laconic.errors import ConfigError
from laconic.lab.contract import Choice, Findings, Parts, Recipe, StageProgress, written
from laconic.lab.datasets import LITTLE_KINDS, DataConfig, make_batches, read_small
from laconic.lab.recipes.classifier import ClassifierRecipe
from laconic.lab.tasks import task
from laconic.metrics.frechet import frechet_distance, last_features
from laconic.training.config import build
from laconic.training.loop import LoopConfig, Trainer
from laconic.training.schedules import LearningRate

SHOWN = 10
"""Pictures that a run keeps, as sent and as received."""
AT_ONCE = 250
"""Pictures that are sent at once when measuring."""


@final
@dataclass(frozen=True)
class ChannelsRecipe(Recipe):
    """A system, its channel and its pictures; see the module.

    Attributes:
        system: name and settings, see `laconic.channels.systems.choice.SYSTEMS`.
        channel: name and settings, see `laconic.channels.CHANNELS`.
        data: pictures to train on.
        rate: learning rate.
        loop: length and precision of the training.
        folder: the run's folder.
        name: of the run, for people; by default the folder's.
        test: what differs from `data` for the images to measure with, and their number `images`
            (0 for all); empty to measure nothing.
        validation: the same for images that settings are chosen with; empty for none.
        draws: of the channel for each of them.
        features: settings of a recipe of kind `classifier`, which is trained first where it is not
            yet: between what enters its last layer for pictures as sent and as received, a Fréchet
            distance is measured. Empty: none.
    """

    kind: ClassVar[str] = "channels"
    result_format: ClassVar[str] = "laconic channels 1"
    adjustable: ClassVar[tuple[str, ...]] = ("loop", "rate")

    system: Mapping[str, Any] = field(default_factory=dict)
    channel: Mapping[str, Any] = field(default_factory=dict)
    data: DataConfig = field(default_factory=DataConfig)
    rate: LearningRate = field(default_factory=LearningRate)
    loop: LoopConfig = field(default_factory=LoopConfig)
    folder: str = "runs/channels/default"
    name: str = ""
    test: Mapping[str, Any] = field(default_factory=dict)
    validation: Mapping[str, Any] = field(default_factory=dict)
    draws: int = 4
    features: Mapping[str, Any] = field(default_factory=dict)

    @property
    def place(self) -> Path:
        """The run's folder."""
        return Path(self.folder)

    def training(self) -> dict[str, Any]:
        """System, channel, data, schedule."""
        return {
            "system": Choice(*read_system(self.system)),
            "channel": Choice(*read_channel(self.channel)),
            "data": self.data,
            "loop": self.loop,
            "rate": self.rate,
        }

    def measuring(self) -> dict[str, Any]:
        """The images to measure with; empty without `test`."""
        if not self.test:
            return {}
        if self.draws < 1:
            raise ConfigError(f"draws: {self.draws} is not a number of draws")
        images, test = self._images("test")
        found: dict[str, Any] = {"images": images, "test": test, "draws": self.draws}
        if self.validation:
            found["validation_images"], found["validation"] = self._images("validation")
        if (before := self.before()) is not None:
            found["features"] = before.training()
        return found

    def before(self) -> ClassifierRecipe | None:
        """The classifier whose features are compared."""
        return ClassifierRecipe.read(dict(self.features)) if self.features else None

    def _images(self, section: str) -> tuple[int, DataConfig]:
        """How many images of a section are measured (0 for all), and of which data."""
        changes = dict(getattr(self, section))
        images = changes.pop("images", 0)
        if type(images) is not int or images < 0:
            raise ConfigError(f"{section}.images: {images!r} is not a number of images")
        data = build(DataConfig, {**written(self.data), "hold_out": 0, **changes}, section)
        return images, data

    def assemble(self, fresh: bool) -> Parts:
        """System, data and loop."""
        if self.data.kind not in LITTLE_KINDS:
            raise ConfigError(
                f"data.kind: '{self.data.kind}' is not one of {', '.join(LITTLE_KINDS)}"
            )
        batches = make_batches(self.data, [])
        first = batches.batch(0)[0]
        torch.manual_seed(self.loop.seed)
        system = make_system(self.system, make_channel(self.channel), first.shape[1:])
        system.train()
        return Parts(
            system,
            SystemLoss(system),
            batches,
            self.rate,
            self.loop,
            identity={"system": dict(self.system), "channel": dict(self.channel)},
        )

    def evaluate(self, trainer: Trainer, watch: StageProgress) -> Findings:
        """Distortion of the test images behind the channel, for every bandwidth it has."""
        system = trainer.average
        assert isinstance(system, System)
        system.eval()
        facts, compare = self._describe(trainer, system), self._comparison()
        grids: dict[str, Any] = {}
        for section, name in (("test", "distortion"), ("validation", "validation")):
            if getattr(self, section):
                images, data = self._images(section)
                x = read_small(data)[: images or None].to(trainer.fabric.device)
                torch.manual_seed(trainer.config.seed)
                facts[name], shown = self._curves(system, x, watch, compare)
                grids = grids or shown
        return Findings(facts, grids)

    def _comparison(self) -> Callable[[Tensor, Tensor], dict[str, float]]:
        """What compares pictures as sent and as received, besides their errors."""
        before = self.before()
        if before is None:
            return lambda sent, received: {}
        net, data = before.trained().eval(), task(before.data, before.hold_out)

        def compare(sent: Tensor, received: Tensor) -> dict[str, float]:
            features = (last_features(net, data.to_inputs(x.cpu())) for x in (sent, received))
            return {"frechet": frechet_distance(*features)}

        return compare

    def _curves(
        self,
        system: System,
        x: Tensor,
        watch: StageProgress,
        compare: Callable[[Tensor, Tensor], dict[str, float]],
    ) -> tuple[dict[str, Any], dict[str, Any]]:
        """Distortion by number of bands, and the first pictures as sent and as received."""
        curves, grids = {}, {"sent": _pixels(x[:SHOWN])}
        for bands in _bandwidths(system):
            watch("send", bands or 0, self.draws)
            errors, last = measure(system, x, self.draws, bands)
            curves[str(bands or 0)] = _summary(errors) | compare(x, last)
            grids[f"received-{bands or 0}"] = _pixels(last[:SHOWN])
        return curves, grids

    def _describe(self, trainer: Trainer, system: System) -> dict[str, Any]:
        """Everything about a run but what was measured."""
        budget = system.receipt.budget
        return {
            "name": self.name or self.place.name,
            "system": written(Choice(*read_system(self.system))),
            "channel": written(Choice(*read_channel(self.channel))),
            "data": Path(self.data.folder).name,
            "seed": self.loop.seed,
            "steps": trainer.step,
            "train_seconds": round(trainer.seconds, 1),
            "parameters": sum(p.numel() for p in system.parameters()),
            "uses": budget.uses,
            "use": budget.unit,
            "capacity_bits_per_use": budget.capacity_bits,
        }


def _bandwidths(system: System) -> list[int | None]:
    """Numbers of bands to measure at; None where the channel has no bands."""
    if isinstance(system, BandSystem):
        return list(range(1, system.channel.bands + 1))
    return [None]


@torch.inference_mode()
def measure(
    system: System, x: Tensor, draws: int, bands: int | None = None
) -> tuple[Tensor, Tensor]:
    """Mean squared errors of pictures behind the channel, samples in [0, 1].

    Args:
        system: in evaluation mode.
        x: `(count, channels, height, width)` in [0, 1].
        draws: of the channel for each picture.
        bands: that pass; None where the channel has no bands.

    Returns:
        Errors `(draws, count)`; the last draw's pictures.
    """
    errors, received = [], x
    for _ in range(draws):
        parts = [
            system.transmit(part)
            if bands is None or not isinstance(system, BandSystem)
            else system.transmit_bands(part, bands)
            for part in torch.split(x, AT_ONCE)
        ]
        received = torch.cat(parts)
        errors.append((received - x).square().flatten(1).mean(1))
    return torch.stack(errors), received


def _summary(errors: Tensor) -> dict[str, float]:
    """Mean squared error with its standard error over pictures; PSNR of pictures on average."""
    each = errors.double().mean(0)
    decibels = -10 * errors.double().clamp_min(1e-12).log10()
    return {
        "mse": float(each.mean()),
        "mse_error": float(each.std() / math.sqrt(len(each))) if len(each) > 1 else 0.0,
        "psnr_db": float(decibels.mean()),
    }


def _pixels(x: Tensor) -> Any:
    """Pictures as uint8 `(count, channels, height, width)`."""
    return (255 * x).round().byte().cpu().numpy().astype(np.uint8)
