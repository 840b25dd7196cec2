import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.special import logsumexp
from torch import Tensor

from laconic.coding.stack.ans import Stack, StackEmpty
from laconic.coding.stack.lattice import (
    DrawnNormal,
    Flowed,
    LatentCodec,
    Lattice,
    LatticeFlow,
    LatticeMixture,
    LatticeNormal,
)
from laconic.errors import CodingError
from laconic.testing.stacks import check_draw, check_inverse, seeded_stack

Array = np.ndarray

DIMS = 5


class TanhStep:
    """Shifts that are anything but linear; strictly triangular in a random order."""

    def __init__(self, rng: np.random.Generator, strength: float = 1.0) -> None:
        order = rng.permutation(DIMS)
        mask = order[:, None] > order
        self.weight = torch.from_numpy(strength * rng.normal(size=(DIMS, DIMS)) * mask)

    def shift(self, z: Tensor) -> Tensor:
        return 2 * torch.tanh(z) @ self.weight.T + torch.cos(z) @ self.weight.T


def normal(
    rng: np.random.Generator, count: int, lattice: Lattice, kind: type = LatticeNormal
) -> LatentCodec:
    means, scales = rng.normal(size=(count, DIMS)), np.exp(rng.normal(-1, 1, (count, DIMS)))
    codec: LatentCodec = kind(means, scales, lattice)
    return codec


def mixture(
    rng: np.random.Generator, count: int, lattice: Lattice, components: int = 7
) -> LatticeMixture:
    weights = rng.dirichlet(np.ones(components))
    means = rng.normal(size=(components, DIMS))
    scales = np.exp(rng.normal(-1, 0.5, (components, DIMS)))
    rows = [np.broadcast_to(part, (count, *part.shape)) for part in (weights, means, scales)]
    return LatticeMixture(*rows, lattice)


def flow(rng: np.random.Generator, lattice: Lattice) -> LatticeFlow:
    return LatticeFlow([TanhStep(rng), TanhStep(rng)], lattice)


@settings(max_examples=25, deadline=None, derandomize=True)
@given(
    seed=st.integers(0, 2**16),
    bits=st.integers(2, 12),
    count=st.integers(1, 12),
    kind=st.sampled_from(
        ["normal", "drawn", "mixture", "forwards", "backwards", "mixture forwards"]
    ),
)
def test_laws(seed: int, bits: int, count: int, kind: str) -> None:
    """Pop after push, and push after pop, leave symbols and stack as they were."""
    rng, lattice = np.random.default_rng(seed), Lattice(bits)
    codec: LatentCodec = mixture(rng, count, lattice)
    if "mixture" not in kind:
        shape = DrawnNormal if kind in ("drawn", "forwards") else LatticeNormal
        codec = normal(rng, count, lattice, shape)
    if "wards" in kind:
        codec = Flowed(codec, flow(rng, lattice), inverse=kind == "backwards")
    drawn = check_draw(codec, seeded_stack(40 * count + 10))
    check_inverse(codec, drawn, seeded_stack(40 * count + 10, seed=1))


@settings(max_examples=25, deadline=None, derandomize=True)
@given(seed=st.integers(0, 2**16), bits=st.integers(2, 12))
def test_a_flow_is_a_bijection_of_points(seed: int, bits: int) -> None:
    """Either way undoes the other for any points, not only for images of points."""
    rng, lattice = np.random.default_rng(seed), Lattice(bits)
    points = rng.integers(-(2**15), 2**15, (9, DIMS))
    one, two, three = (flow(np.random.default_rng(seed), lattice) for _ in range(3))
    image = one.forwards(points)
    assert np.array_equal(two.backwards(image), points)
    assert np.array_equal(three.forwards(two.backwards(points)), points)


def test_a_flow_rounds_its_shifts_alone() -> None:
    """Each step errs by half a lattice step at most: one step's image is the float's, rounded."""
    rng, lattice = np.random.default_rng(0), Lattice(8)
    step = TanhStep(rng)
    points = rng.integers(-500, 500, (50, DIMS))
    z = lattice.values(points)
    image = lattice.values(LatticeFlow([step], lattice).forwards(points))
    assert float((image - z - step.shift(z)).abs().max()) <= 2**-9


@pytest.mark.parametrize("kind", [LatticeNormal, DrawnNormal])
def test_a_normal_costs_its_density(kind: type[LatticeNormal | DrawnNormal]) -> None:
    """Bits are nats / ln 2 + bits a dimension: within 0.1 % for scales of a step or more."""
    rng, lattice, count = np.random.default_rng(1), Lattice(8), 4000
    means, scales = rng.normal(size=(count, DIMS)), np.exp(rng.uniform(-5.5, 0.5, (count, DIMS)))
    codec = kind(means, scales, lattice)
    points = lattice.nearest(torch.from_numpy(means + scales * rng.normal(size=means.shape)))
    length = check_inverse(codec, points, Stack())
    ideal = codec.nats(points).sum() / np.log(2) + lattice.bits * points.size
    assert length == pytest.approx(ideal, rel=1e-3)
    z = lattice.values(points)
    nats = -torch.distributions.Normal(torch.tensor(means), torch.tensor(scales)).log_prob(z)
    assert codec.nats(points) == pytest.approx(nats.sum(1).numpy())


def test_draws_stay_near_their_mean() -> None:
    """Of 200000 draws none is farther off than its window, and one at most beyond 6 scales.

    Under the whole lattice's floor of 2^-28 a point some 12 of them would land anywhere: the reason
    for windows.
    """
    rng, lattice, count = np.random.default_rng(6), Lattice(8), 40000
    means, scales = rng.normal(size=(count, DIMS)), np.exp(rng.uniform(-4, 0, (count, DIMS)))
    points = DrawnNormal(means, scales, lattice).pop(seeded_stack(12 * count))
    off = np.abs(lattice.values(points).numpy() - means)
    assert (off < np.maximum(16.1 * scales, 0.51)).all()
    assert (off > 6 * scales + 2**-8).sum() <= 5


def test_a_mixture_costs_its_density() -> None:
    """Net bits of every vector by itself: -log2 of the whole mixture, whichever component is drawn.

    Within 0.35 bit for each (integers round), within 0.01 bit on average.
    """
    rng, lattice, count = np.random.default_rng(2), Lattice(10), 500
    codec = mixture(np.random.default_rng(5), 1, lattice)
    weights, means, scales = (getattr(codec, name)[0] for name in ("_weights", "_means", "_scales"))
    k = rng.choice(weights.size, count, p=weights)
    points = lattice.nearest(torch.from_numpy(rng.normal(means[k], scales[k])))
    gaps, stack = [], seeded_stack(30)
    for point in points:
        stack.push(rng.integers(0, 1 << 28, 3), [1, 1, 1])
        net = check_inverse(codec, point[None], stack)
        z = lattice.values(point).numpy()
        each = (-0.5 * ((z - means) / scales) ** 2 - np.log(scales * np.sqrt(2 * np.pi))).sum(1)
        nats = -logsumexp(np.log(weights) + each)
        assert codec.nats(point[None])[0] == pytest.approx(nats)
        gaps.append(net - (nats / np.log(2) + lattice.bits * DIMS))
    assert np.abs(gaps).max() < 0.35
    assert abs(np.mean(gaps)) < 0.01


def test_draws_follow_the_mixture() -> None:
    """First and second moments of 4000 draws within 4 standard errors."""
    rng, lattice, count = np.random.default_rng(3), Lattice(9), 4000
    codec = mixture(rng, count, lattice)
    z = lattice.values(check_draw(codec, seeded_stack(40 * count))).numpy()
    weights, means, scales = (getattr(codec, name)[0] for name in ("_weights", "_means", "_scales"))
    first = weights @ means
    second = weights @ (means**2 + scales**2)
    assert np.abs(z.mean(0) - first).max() < 4 * z.std(0).max() / np.sqrt(count)
    spread = (z**2).std(0).max()
    assert np.abs((z**2).mean(0) - second).max() < 4 * spread / np.sqrt(count)


def test_an_empty_stack_draws_no_component_and_stays_empty() -> None:
    codec = mixture(np.random.default_rng(4), 3, Lattice(8))
    stack = Stack()
    with pytest.raises(StackEmpty):
        codec.push(stack, np.zeros((3, DIMS), np.int64))
    assert stack.empty


class CircularStep:
    """Every feature shifts every other: no order exists."""

    def shift(self, z: Tensor) -> Tensor:
        return 3 * z.roll(1, 1) + 1


def test_what_cannot_be_is_refused() -> None:
    lattice, zeros, ones = Lattice(10), np.zeros((1, 2)), np.ones((1, 2))
    with pytest.raises(CodingError, match="beyond the lattice's end at \\+-32"):
        LatticeNormal(zeros, ones, lattice).push(Stack(), np.array([[0, 1 << 15]]))
    for means, scales in ((zeros, zeros), (zeros, ones[:, :1]), (zeros * np.nan, ones)):
        with pytest.raises(CodingError, match="finite means"):
            LatticeNormal(means, scales, lattice)
    with pytest.raises(CodingError, match="differ in shape"):
        LatticeMixture(ones, ones[:, None], ones[:, None], lattice)
    with pytest.raises(CodingError, match="bits after the point"):
        Lattice(13)
    with pytest.raises(CodingError, match="not a number"):
        lattice.nearest(torch.tensor([float("nan")]))
    with pytest.raises(CodingError, match="not autoregressive"):
        LatticeFlow([CircularStep()], lattice).backwards(np.array([[1, 2, 3]]))
