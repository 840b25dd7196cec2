"""A codec and two pictures for the tests of evaluations."""

import zlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from torch import Tensor
from torch.distributions import Normal

from laconic.evaluation.anchors import ANCHORS
from laconic.evaluation.rate_distortion import rate_distortion
from laconic.evaluation.results import CodeLength, LevelBits, Study
from laconic.models.base import Context, Features, LatentVariableModel


@dataclass(frozen=True)
class Rounding:
    """Coarser steps, smaller files; accounts for its bits like ours.

    Round every sample to a step of 100 / setting grey levels and deflate.
    """

    name: str = "rounding"
    label: str = "Rounding"
    description: str = "steps of 100 / setting grey levels, deflated"

    def encode(self, pixels: np.ndarray, setting: float) -> bytes:
        step = max(1, round(100 / setting))
        height, width, _ = pixels.shape
        body = zlib.compress((pixels // step).tobytes(), 9)
        return np.array([height, width, step], "<u4").tobytes() + body

    def decode(self, data: bytes) -> np.ndarray:
        height, width, step = map(int, np.frombuffer(data[:12], "<u4"))
        levels = np.frombuffer(zlib.decompress(data[12:]), np.uint8).reshape(height, width, 3)
        return np.clip(levels.astype(int) * step + step // 2, 0, 255).astype(np.uint8)

    def explain(self, data: bytes) -> CodeLength:
        bits = 8.0 * len(data)
        level = LevelBits(0.8 * bits, 0.85 * bits, {"indices": bits - 150, "outliers": 54.0})
        return CodeLength(bits, 0.8 * bits, 0.85 * bits, (level,))


class Pixels(LatentVariableModel):
    """One latent: 8x8 blocks' means plus noise of the known scale sqrt(beta); no weights."""

    levels, stride, beta_range = 1, 8, (1e-4, 1e-2)

    def encode(self, x: Tensor, context: Context) -> Features:
        return [torch.nn.functional.avg_pool2d(x, 8)]

    def prior(self, level: int, above: Sequence[Tensor], context: Context) -> Normal:
        shape = (1, 3, context.height // 8, context.width // 8)
        return Normal(torch.full(shape, 0.5), torch.full(shape, 0.3))

    def posterior(
        self,
        level: int,
        features: Features,
        above: Sequence[Tensor],
        prior: Normal,
        context: Context,
    ) -> Normal:
        scale = (context.log_beta / 2).exp().float().reshape(1, 1, 1, 1)
        return Normal(features[0].float(), scale.expand_as(features[0]))

    def likelihood(self, latents: Sequence[Tensor], context: Context) -> Normal:
        shown = torch.nn.functional.interpolate(latents[0], scale_factor=8)
        return Normal(shown, torch.ones_like(shown))


@pytest.fixture(scope="package", autouse=True)
def _one_thread() -> Iterator[None]:
    """Pictures this small are slower on two threads, most of all beside other work."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@pytest.fixture(scope="session")
def rounding() -> type[Rounding]:
    """The class, so that tests can name several."""
    return Rounding


@pytest.fixture(scope="session")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two smooth pictures, one large enough for MS-SSIM's five scales, and a file that is none."""
    root = tmp_path_factory.mktemp("pictures")
    for name, (height, width) in {"wide": (176, 240), "tall": (200, 168)}.items():
        rows, columns = np.mgrid[:height, :width]
        waves = np.sin(rows / 9)[..., None] * np.cos(columns / 13)[..., None]
        noise = np.random.default_rng(height).normal(0, 4, (height, width, 3))
        pixels = np.clip(127 + 90 * waves * [1, 0.7, -0.8] + noise, 0, 255).astype(np.uint8)
        Image.fromarray(pixels).save(root / f"{name}.png")
    (root / "notes.txt").write_text("not a picture")
    return root


@pytest.fixture(scope="session")
def study(folder: Path) -> Study:
    """The fake codec beside JPEG on both pictures."""
    ours = (Rounding(), (2.0, 4.0, 8.0, 16.0, 30.0))
    return rate_distortion([ours, (ANCHORS["jpeg"], (5, 20, 50, 80, 95))], folder)


@pytest.fixture(scope="session")
def tiny_model() -> LatentVariableModel:
    """A model without weights whose every draw can be predicted."""
    return Pixels().eval()
