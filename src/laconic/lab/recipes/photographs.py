"""Recipes of joint systems for photographs, trained at every operating point at once.

```yaml
recipe: photographs
system: {width: 128}                    # laconic.channels.systems.photographs.PhotographConfig
data: {folder: photos, split: train, patch: 128, batch: 8}
test: {split: valid, images: 12}        # photographs to measure with; their middles are taken
points: [[0, 1], [10, 2]]               # signal-to-noise ratios in dB, and numbers of bands
loop: {steps: 20000}
rate: {peak: 5.0e-4}
folder: runs/channels/photographs
```
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, ClassVar, final

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from laconic.channels.systems.base import SystemLoss
from laconic.channels.systems.photographs import PhotographConfig, PhotographSystem, Point
from laconic.errors import ConfigError
from laconic.lab.contract import Findings, Parts, Recipe, StageProgress, written
from laconic.lab.datasets import DataConfig, make_batches, read_photos
from laconic.training.config import build
from laconic.training.loop import LoopConfig, Trainer
from laconic.training.schedules import LearningRate

CROP = 256
"""Largest side of the middles of photographs that are measured."""


@final
@dataclass(frozen=True)
class PhotographsRecipe(Recipe):
    """A joint system for photographs; see the module.

    Attributes:
        system: sizes and range.
        data: photographs to train on.
        rate: learning rate.
        loop: length and precision of the training.
        folder: the run's folder.
        test: what differs from `data` for the photographs to measure with, and their number
            `images`; empty to measure nothing.
        points: signal-to-noise ratio in dB and number of bands of every measurement.
    """

    kind: ClassVar[str] = "photographs"
    result_format: ClassVar[str] = "laconic channel photographs 1"
    adjustable: ClassVar[tuple[str, ...]] = ("loop", "rate")

    system: PhotographConfig = field(default_factory=PhotographConfig)
    data: DataConfig = field(default_factory=DataConfig)
    rate: LearningRate = field(default_factory=LearningRate)
    loop: LoopConfig = field(default_factory=LoopConfig)
    folder: str = "runs/channels/photographs"
    test: Mapping[str, Any] = field(default_factory=dict)
    points: tuple[Any, ...] = ((0.0, 1), (10.0, 1), (10.0, 2), (10.0, 4), (20.0, 6))

    @property
    def place(self) -> Path:
        """The run's folder."""
        return Path(self.folder)

    def training(self) -> dict[str, Any]:
        """Sizes, data, schedule."""
        if self.data.kind != "photos" or self.data.patch % self.system.block:
            raise ConfigError(
                f"data: photographs in patches of a multiple of {self.system.block} are needed"
            )
        return {"system": self.system, "data": self.data, "loop": self.loop, "rate": self.rate}

    def measuring(self) -> dict[str, Any]:
        """The photographs and the operating points; empty without `test`."""
        if not self.test:
            return {}
        images, test = self._test()
        return {"images": images, "test": test, "points": self._points()}

    def _points(self) -> list[tuple[float, int]]:
        found = []
        for point in self.points:
            if not isinstance(point, Sequence) or len(point) != 2:
                raise ConfigError(f"points: {point!r} is not a ratio in dB and a number of bands")
            snr_db, bands = float(point[0]), int(point[1])
            self.system.check_snr_db(snr_db)
            self.system.bands_of(bands / self.system.band_share)
            found.append((snr_db, bands))
        return found

    def _test(self) -> tuple[int, DataConfig]:
        changes = dict(self.test)
        images = changes.pop("images", 0)
        if type(images) is not int or images < 0:
            raise ConfigError(f"test.images: {images!r} is not a number of images")
        return images, build(DataConfig, {**written(self.data), **changes}, "test")

    def assemble(self, fresh: bool) -> Parts:
        """System, photographs and loop; a fresh system is fitted to some batches first."""
        photos = read_photos(self.data)
        batches = make_batches(self.data, photos)
        torch.manual_seed(self.loop.seed)
        system = PhotographSystem(self.system)
        if fresh:
            first = (batches.batch(index) for index in range(self.data.covariance_batches))
            system.prepare(part for part in first if isinstance(part, Tensor))
        return Parts(
            system,
            SystemLoss(system),
            batches,
            self.rate,
            self.loop,
            identity={"system": written(self.system)},
        )

    def evaluate(self, trainer: Trainer, watch: StageProgress) -> Findings:
        """PSNR of the middles of photographs at every operating point."""
        system = trainer.average
        assert isinstance(system, PhotographSystem)
        system.eval()
        images, test = self._test()
        photos = read_photos(test)[: images or None]
        torch.manual_seed(trainer.config.seed)
        rows = []
        for snr_db, bands in self._points():
            values = [
                _psnr_db(system, middle(pixels, self.system.block), snr_db, bands)
                for pixels in photos
            ]
            rows.append({"snr_db": snr_db, "bands": bands, "psnr_db": float(np.mean(values))})
            watch("send", len(rows), len(self.points))
        return Findings(
            {
                "system": written(self.system),
                "data": Path(self.data.folder).name,
                "seed": self.loop.seed,
                "steps": trainer.step,
                "train_seconds": round(trainer.seconds, 1),
                "parameters": sum(p.numel() for p in system.parameters()),
                "points": rows,
            }
        )


def middle(pixels: NDArray[np.uint8], block: int) -> Tensor:
    """The middle of a photograph, sides multiples of `block`, `(1, 3, h, w)` in [0, 1]."""
    sides = [min(side, CROP) // block * block for side in pixels.shape[:2]]
    top, left = ((full - side) // 2 for full, side in zip(pixels.shape[:2], sides, strict=True))
    crop = pixels[top : top + sides[0], left : left + sides[1]]
    return torch.from_numpy(crop.copy()).permute(2, 0, 1)[None].float() / 255


@torch.inference_mode()
def _psnr_db(system: PhotographSystem, x: Tensor, snr_db: float, bands: int) -> float:
    point = Point.of(snr_db, bands)
    y = system.encode(x, point)
    z = y + point.noise_scale * torch.randn_like(y)
    error = (system.decode(z, point).clamp(0, 1) - x).square().mean()
    return float(-10 * error.log10())
