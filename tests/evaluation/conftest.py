"""A codec and two pictures for the tests of evaluations."""

import json
import math
import zlib
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from torch import Tensor
from torch.distributions import (
    Bernoulli,
    Categorical,
    Distribution,
    Independent,
    MultivariateNormal,
    Normal,
    Transform,
    TransformedDistribution,
    constraints,
)

from laconic.evaluation.anchors.classical import ANCHORS
from laconic.evaluation.images.rate_distortion import rate_distortion
from laconic.evaluation.images.results import CodeLength, LevelBits, Study
from laconic.models.base import Context, Features, LatentVariableModel, NormalLadder


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

    def read(self, data: bytes) -> tuple[np.ndarray, CodeLength]:
        bits = 8.0 * len(data)
        level = LevelBits(0.8 * bits, 0.85 * bits, {"indices": bits - 150, "outliers": 54.0})
        return self.decode(data), CodeLength(bits, 0.8 * bits, 0.85 * bits, (level,))


class Pixels(NormalLadder):
    """One latent: 8x8 blocks' means plus noise of the known scale sqrt(beta); no weights."""

    levels, stride, beta_range = 1, 8, (1e-4, 1e-2)

    def encode(self, x: Tensor, context: Context) -> Features:
        return [torch.nn.functional.avg_pool2d(x, 8)]

    def prior(self, level: int, above: Sequence[Tensor], context: Context) -> Normal:
        shape = (1, 3, *context.grid(8))
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
def tiny_model() -> NormalLadder:
    """A model without weights whose every draw can be predicted."""
    return Pixels().eval()


class LinearGaussian(NormalLadder):
    """z ~ N(0, I), x ~ N(W z, noise²), e(z | x) = N(A x + shift, scale²): all measures are known.

    W has orthogonal columns, so that `LinearGaussian()` has the exact posterior.
    """

    levels, stride, beta_range = 1, 1, (1.0, 1.0)
    height, width, noise = 2, 3, 0.5

    def __init__(self, spread: float = 1.0, shift: float = 0.0, shrink: float = 1.0) -> None:
        super().__init__()
        directions = torch.tensor([[1.0, 1, 1, -1, 1, 0.5], [1.0, -1, 0.5, 0.5, 0, 0]]).double().T
        self.weight = torch.linalg.qr(directions)[0] * torch.tensor([1.5, 0.7]).double()
        precision = 1 + self.weight.square().sum(0) / self.noise**2
        self.reader = shrink * self.weight / self.noise**2 / precision
        self.scale, self.shift = spread * precision.rsqrt(), shift

    def draw(self, count: int) -> Tensor:
        """Images from the model itself, `(count, 1, 2, 3)`."""
        z = torch.randn(count, 2).double()
        x = z @ self.weight.T + self.noise * torch.randn(count, 6).double()
        return x.reshape(count, 1, self.height, self.width)

    def encode(self, x: Tensor, context: Context) -> Features:
        return [x.flatten(1) @ self.reader + self.shift]

    def prior(self, level: int, above: Sequence[Tensor], context: Context) -> Normal:
        zeros = torch.zeros(context.batch, 2).double()
        return Normal(zeros, torch.ones_like(zeros))

    def posterior(
        self,
        level: int,
        features: Features,
        above: Sequence[Tensor],
        prior: Normal,
        context: Context,
    ) -> Normal:
        return Normal(features[0], self.scale.expand_as(features[0]))

    def likelihood(self, latents: Sequence[Tensor], context: Context) -> Normal:
        mean = (latents[0] @ self.weight.T).reshape(-1, 1, self.height, self.width)
        return Normal(mean, torch.full_like(mean, self.noise))

    def rate(self, x: Tensor) -> Tensor:
        mean, variance = self.encode(x, self.context((1, 1), 0, 1))[0], self.scale.square()
        return 0.5 * (mean.square() + variance - 1 - variance.log()).sum(1)

    def distortion(self, x: Tensor) -> Tensor:
        mean = self.encode(x, self.context((1, 1), 0, 1))[0]
        left = (x.flatten(1) - mean @ self.weight.T).square().sum(1)
        left = left + (self.scale.square() * self.weight.square()).sum()
        return left / (2 * self.noise**2) + 3 * math.log(2 * math.pi * self.noise**2)

    @property
    def covariance(self) -> Tensor:
        return self.weight @ self.weight.T + self.noise**2 * torch.eye(6).double()

    def surprise(self, x: Tensor) -> Tensor:
        """-ln p(x), nats."""
        zeros = torch.zeros(6).double()
        return -MultivariateNormal(zeros, self.covariance).log_prob(x.flatten(1))

    @property
    def entropy(self) -> float:
        """Of the images that `draw` gives, nats."""
        return float(0.5 * torch.logdet(2 * math.pi * math.e * self.covariance))

    @property
    def information(self) -> float:
        """I(X; Z) under the encoder, of the images that `draw` gives."""
        explained = self.reader.T @ self.covariance @ self.reader
        whole = torch.diag(self.scale.square()) + explained
        return float(0.5 * torch.logdet(whole) - self.scale.log().sum())


class Stretch(Transform):
    """z = 2 u + sinh u, the inverse by bisection; equal to itself only."""

    domain = codomain = constraints.real
    bijective, sign = True, 1

    def _call(self, x: Tensor) -> Tensor:
        return 2 * x + torch.sinh(x)

    def _inverse(self, y: Tensor) -> Tensor:
        low, high = torch.full_like(y, -20.0), torch.full_like(y, 20.0)
        for _ in range(52):
            middle = (low + high) / 2
            above = self._call(middle) > y
            low, high = torch.where(above, low, middle), torch.where(above, middle, high)
        return (low + high) / 2

    def log_abs_det_jacobian(self, x: Tensor, y: Tensor) -> Tensor:
        return torch.log(2 + torch.cosh(x))


class Flowed(LatentVariableModel):
    """`LinearGaussian` with another encoder: a normal seen through a `Stretch`."""

    levels, stride, beta_range = 1, 1, (1.0, 1.0)

    def __init__(self, plain: LinearGaussian, shared: bool) -> None:
        super().__init__()
        self.plain, self.shared, self.stretch = plain, shared, Stretch(cache_size=1)

    def encode(self, x: Tensor, context: Context) -> Features:
        return [self.plain.encode(x, context)[0] / 3]

    def prior(self, level: int, above: Sequence[Tensor], context: Context) -> Normal:
        return self.plain.prior(level, above, context)

    def posterior(
        self,
        level: int,
        features: Features,
        above: Sequence[Tensor],
        prior: Distribution,
        context: Context,
    ) -> Distribution:
        base = Normal(features[0], self.plain.scale.expand_as(features[0]) / 3)
        stretch = self.stretch if self.shared else Stretch(cache_size=1)
        return TransformedDistribution(Independent(base, 1), [stretch])

    def likelihood(self, latents: Sequence[Tensor], context: Context) -> Normal:
        return self.plain.likelihood(latents, context)


class Choices(LatentVariableModel):
    """z is one of four, x four binary pixels: everything can be summed up."""

    levels, stride, beta_range = 1, 2, (1.0, 1.0)

    def __init__(self, strength: float = 1.5) -> None:
        super().__init__()
        source = torch.Generator().manual_seed(3)
        self.shares = torch.tensor([0.1, 0.4, 0.3, 0.2]).double()
        self.logits = strength * torch.randn(4, 4, generator=source).double()
        self.reader = torch.randn(4, 4, generator=source).double()

    @property
    def all_images(self) -> Tensor:
        """All 16, `(16, 1, 2, 2)`."""
        return torch.cartesian_prod(*[torch.tensor([0.0, 1.0]).double()] * 4).reshape(16, 1, 2, 2)

    def encode(self, x: Tensor, context: Context) -> Features:
        return [x.flatten(1) @ self.reader]

    def prior(self, level: int, above: Sequence[Tensor], context: Context) -> Categorical:
        return Categorical(self.shares.expand(context.batch, 4))

    def posterior(
        self,
        level: int,
        features: Features,
        above: Sequence[Tensor],
        prior: Distribution,
        context: Context,
    ) -> Categorical:
        return Categorical(logits=features[0])

    def likelihood(self, latents: Sequence[Tensor], context: Context) -> Distribution:
        return Independent(Bernoulli(logits=self.logits[latents[0]].reshape(-1, 1, 2, 2)), 3)

    @property
    def encoder(self) -> Tensor:
        """ln e(z | x), `(16, 4)`."""
        return torch.log_softmax(self.all_images.flatten(1) @ self.reader, 1)

    @property
    def decoder(self) -> Tensor:
        """ln d(x | z), `(16, 4)`."""
        x = self.all_images.flatten(1)[:, None]
        return -torch.nn.functional.softplus(torch.where(x == 1, -self.logits, self.logits)).sum(2)


@pytest.fixture(scope="session")
def linear_gaussian() -> type[LinearGaussian]:
    """The class, so that tests can spoil the encoder."""
    return LinearGaussian


@pytest.fixture(scope="session")
def flowed() -> type[Flowed]:
    """The class."""
    return Flowed


@pytest.fixture(scope="session")
def choices() -> type[Choices]:
    """The class."""
    return Choices


@pytest.fixture
def write_run(tmp_path: Path) -> Callable[..., Path]:
    """Write one point of the rate-distortion plane as a run's folder; return its result.json."""

    def write(family: str, beta: float, rate: float, distortion: float, **more: object) -> Path:
        values = {"rate_nats": rate, "distortion_nats": distortion}
        measures = {name: {"value": value, "error": 0.1} for name, value in values.items()}
        measures |= more.pop("measures", {})  # type: ignore[arg-type]
        document = {
            "format": "laconic rd point 1",
            "name": f"{family} beta {beta:g}",
            "family": family,
            "preset": "small",
            "objective": {"name": "beta", "beta": beta},
            "annealed": False,
            "data": "binary-mnist",
            "seed": 0,
            "steps": 1000,
            "measures": measures,
        }
        count = len(list((tmp_path / "runs").glob("*")))
        folder = tmp_path / "runs" / f"{count:03d}"
        folder.mkdir(parents=True)
        (folder / "result.json").write_text(json.dumps(document | more))
        return folder / "result.json"

    return write
