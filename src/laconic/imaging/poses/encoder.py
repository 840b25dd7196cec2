"""A network that reads poses off images: an amortised posterior of the pose.

The network maps an image to the modes of q(pose): rotations, shifts, weights, widths. It learns
from simulated images of a volume, whose poses are known: it maximises log q(pose | image). Since
poses are drawn anew and evenly, there is no start from which a wrong optimum is the nearest one,
in which gradients of (5.16) end (5.6: encoders trained by it failed, too). It is a guess: Newton
steps in the volume, or `Search`, make a posterior of it.

Source: Ullrich 5.5, the last paragraph (amortised inference); learning from simulated images is
the sleep phase of Hinton et al., "The wake-sleep algorithm for unsupervised neural networks"
(Science 1995).
"""

import math
from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from laconic.errors import InputError
from laconic.imaging.poses.newton import polish
from laconic.imaging.poses.posterior import Poses
from laconic.imaging.poses.samples import Middle, Observed, Plane
from laconic.imaging.rotations import symmetry, uniform
from laconic.imaging.slices import PADDING, images_of, to_images, to_slices

NUMBERS = 10
"""Of a mode: two axes of the image in the volume, a shift, a weight, a width."""
LEAST_SPREAD = math.radians(1)
"""Root mean square angle of the narrowest mode."""
LEAST_WEIGHT = 0.01
"""Of all modes together that is divided evenly."""
REACH = math.radians(5)
"""Largest angle of a Newton step from a mode."""


@dataclass(frozen=True)
class Lesson:
    """How an encoder learns.

    Attributes:
        steps: of Adam.
        batch: images of a step.
        rate: of the first step; it falls to 0 by a cosine.
        seed: of images and of the first parameters.
    """

    steps: int = 2000
    batch: int = 128
    rate: float = 2e-3
    seed: int = 0

    def __post_init__(self) -> None:
        if self.steps < 1 or self.batch < 1:
            raise InputError(f"steps: {self.steps}, of {self.batch} images; give at least 1")


class PoseEncoder(nn.Module):
    """A convolutional network from images to modes of poses.

    Args:
        size: of the images.
        reach: largest shift in pixels.
        group: the volume's symmetry, by name.
        modes: of the posterior.
        width: channels of the first convolution.
    """

    def __init__(
        self, size: int, reach: float, group: str = "C1", modes: int = 4, width: int = 16
    ) -> None:
        super().__init__()
        if size < 8:
            raise InputError(f"size: images of {size} pixels are too small; give at least 8")
        self.size, self.reach, self.modes = size, reach, modes
        self.register_buffer("group", symmetry(group))
        self.register_buffer("mean", torch.zeros(()))
        self.register_buffer("scale", torch.ones(()))
        layers: list[nn.Module] = []
        channels, side = 1, size
        while side > 4:
            wider = min(width * 2 ** (len(layers) // 2), 8 * width)
            layers += [nn.Conv2d(channels, wider, 5, 2, 2), nn.GELU()]
            channels, side = wider, (side + 1) // 2
        layers += [nn.Flatten(), nn.Linear(channels * side * side, 16 * width), nn.GELU()]
        layers.append(nn.Linear(16 * width, NUMBERS * modes))
        self.body = nn.Sequential(*layers)

    group: Tensor
    mean: Tensor
    scale: Tensor

    def forward(self, images: Tensor) -> Poses:
        """q(pose) of images: (images, size, size); the evidence is not known, and 0."""
        numbers = self.body(((images - self.mean) / self.scale)[:, None])
        numbers = numbers.reshape(len(images), self.modes, NUMBERS)
        # E |w|^2: a mode is no wider than all rotations, and never so narrow that one image of a
        # batch, at a wrong mode, decides the gradient.
        narrow, wide = 2 * math.log(LEAST_SPREAD), 2 * math.log(math.pi)
        variance = torch.exp(narrow + (wide - narrow) * torch.sigmoid(numbers[..., 9] + 2))
        return Poses(
            _orthonormal(numbers[..., :3], numbers[..., 3:6]),
            self.reach * torch.tanh(numbers[..., 6:8]),
            (1 - LEAST_WEIGHT) * numbers[..., 8].softmax(-1) + LEAST_WEIGHT / self.modes,
            variance,
            numbers.new_zeros(len(images)),
            self.group,
        )

    def log_density(self, images: Tensor, rotations: Tensor, shifts: Tensor) -> Tensor:
        """Log of q(pose | image) of given poses, in nats, up to a constant: (images,).

        A mode is a Gaussian of the rotation vector, of the symmetric pose next to it, and of the
        shift, whose deviation is a pixel.
        """
        found: Poses = self(images)
        truth = rotations.float()[:, None] @ self.group.float()
        between = found.rotations[:, :, None].mT @ truth[:, None]
        # The squared chord, nearly the squared angle: smooth at 0, where the angle is not.
        chord = 3 - between.diagonal(dim1=-2, dim2=-1).sum(-1).amax(-1)
        moved = (found.shifts - shifts.float()[:, None]).square().sum(-1)
        each = found.weights.clamp(min=1e-12).log() - 1.5 * found.variance.log()
        each = each - 1.5 * chord / found.variance - 0.5 * moved
        return each.logsumexp(1)


def learned(
    spectrum: Tensor,
    noise: Tensor,
    reach: float,
    *,
    group: str = "C1",
    modes: int = 4,
    lesson: Lesson | None = None,
    progress: Callable[[int, int], None] | None = None,
) -> PoseEncoder:
    """An encoder of one volume's images, learned from simulated ones.

    Args:
        spectrum: of the volume, by `slices.to_spectrum` with its usual padding.
        noise: (size // 2 + 1,): variances of shells, of orthonormal coefficients.
        reach: largest shift in pixels.
        group: the volume's symmetry, by name.
        modes: of the posterior.
        lesson: how long.
        progress: called after each step with the steps done and all.
    """
    lesson = lesson or Lesson()
    size = len(spectrum) // PADDING
    generator = torch.Generator().manual_seed(lesson.seed)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(lesson.seed)
        encoder = PoseEncoder(size, reach, group, modes)
    first = _simulated(spectrum, noise, reach, size, 256, generator)[0]
    encoder.mean.fill_(float(first.mean()))
    encoder.scale.fill_(float(first.std()))
    optimiser = torch.optim.Adam(encoder.parameters(), lesson.rate)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimiser, lesson.steps)
    for step in range(lesson.steps):
        images, rotations, shifts = _simulated(
            spectrum, noise, reach, size, lesson.batch, generator
        )
        optimiser.zero_grad()
        loss = -encoder.log_density(images, rotations, shifts).mean()
        loss.backward()  # type: ignore[no-untyped-call]
        nn.utils.clip_grad_norm_(encoder.parameters(), 1.0)
        optimiser.step()
        schedule.step()
        if progress is not None:
            progress(step + 1, lesson.steps)
    return encoder.eval()


@torch.no_grad()
def encoded(
    encoder: PoseEncoder,
    images: Tensor,
    *,
    spectrum: Tensor | None = None,
    noise: Tensor | None = None,
    band: float | None = None,
) -> Poses:
    """Poses of images by an encoder; with a volume, Newton steps from its modes.

    Args:
        encoder: of `learned`.
        images: (images, size, size).
        spectrum: of the volume; None: what the network says.
        noise: (size // 2 + 1,): variances of shells; with the volume.
        band: largest radius of frequencies that are compared; with the volume.

    Raises:
        InputError: a volume without its noise or its band.
    """
    found: Poses = encoder(images.float())
    order = found.weights.argsort(1, descending=True)
    rows = torch.arange(len(images))[:, None]
    rotations, shifts = found.rotations.double()[rows, order], found.shifts.double()[rows, order]
    weights, variance = found.weights[rows, order], found.variance[rows, order]
    if spectrum is None:
        return Poses(rotations, shifts, weights, variance, found.evidence, found.group)
    if noise is None or band is None:
        raise InputError("noise and band: give both with the volume")
    return polish(
        Observed.of(Plane.within(encoder.size, band), images, None, noise),
        Middle.of(spectrum, encoder.size, band),
        rotations,
        shifts,
        weights.log(),
        found.group,
        reach=REACH,
    )


def _orthonormal(first: Tensor, second: Tensor) -> Tensor:
    """Rotations whose first rows are two vectors made orthonormal (Gram and Schmidt)."""
    a = nn.functional.normalize(first, dim=-1)
    b = nn.functional.normalize(second - (a * second).sum(-1, keepdim=True) * a, dim=-1)
    return torch.stack([a, b, torch.linalg.cross(a, b)], -2)


@torch.no_grad()
def _simulated(
    spectrum: Tensor, noise: Tensor, reach: float, size: int, count: int, generator: torch.Generator
) -> tuple[Tensor, Tensor, Tensor]:
    """Noisy images of evenly drawn poses, their rotations and shifts."""
    rotations = uniform(count, generator)
    turn, radius = torch.rand(2, count, generator=generator, dtype=torch.float64)
    angle = 2 * math.pi * turn
    shifts = reach * radius.sqrt()[:, None] * torch.stack([angle.cos(), angle.sin()], -1)
    clean = images_of(spectrum, rotations, shifts, wide=False)
    white = torch.randn(clean.shape, generator=generator)
    y = torch.fft.fftfreq(size, 1 / size).square()[:, None]
    x = torch.fft.rfftfreq(size, 1 / size).square()
    shells = (y + x).sqrt().round().long().clamp(max=size // 2)
    coloured = to_images(to_slices(white) * noise.sqrt()[shells], size)
    return (clean + coloured).float(), rotations, shifts
