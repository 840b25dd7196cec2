"""The uniform ladder of experiments/quantization: its codecs against its own rate."""

import math
from importlib.util import module_from_spec, spec_from_file_location
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest
import torch

from laconic.evaluation.images.ours import context_of
from laconic.metrics import psnr
from laconic.models.sliced.config import SlicedConfig
from laconic.models.sliced.ladder import SlicedLadder

SMALL = SlicedConfig(block=8, slices=(6, 18, 40), top=8, fine_width=16, coarse_width=16,
                     prior_width=16)  # fmt: skip


@pytest.fixture(scope="module")
def uniform() -> ModuleType:
    path = Path(__file__).parents[3] / "experiments" / "quantization" / "uniform.py"
    spec = spec_from_file_location("uniform", path)
    assert spec is not None
    assert spec.loader is not None
    module = module_from_spec(spec)
    import sys

    sys.modules["uniform"] = module  # dataclasses look their module up
    spec.loader.exec_module(module)
    return module


def scene() -> np.ndarray:
    """A smooth picture with an edge."""
    rows, columns = np.mgrid[:96, :128] / 128
    values = 128 + 80 * np.sin(7 * rows + 9 * columns**2) + 30 * (columns > 0.6)
    return np.stack([values, 255 - values, 0.5 * values], -1).clip(0, 255).astype(np.uint8)


@pytest.fixture(scope="module")
def model() -> SlicedLadder:
    torch.manual_seed(0)
    ladder = SlicedLadder(SMALL).eval()

    ladder.prepare([torch.from_numpy(scene()).permute(2, 0, 1)[None].float() / 255])
    return ladder


@pytest.mark.parametrize("dithered", [True, False])
def test_files_weigh_what_the_rate_says(
    uniform: ModuleType, model: SlicedLadder, dithered: bool
) -> None:
    # Class steps of 1/16 octave, 16-bit counts and the container cost the rest. Rounding is not
    # what the rate describes, but near it.
    pixels = scene()
    data = uniform.UniformCodec(model, dithered).encode(pixels, 60)
    torch.manual_seed(1)
    context = context_of(model, 96, 128, 60)
    x = torch.from_numpy(pixels).permute(2, 0, 1)[None].float() / 255
    with torch.inference_mode():
        rungs = uniform.draw_rungs(model, x, context)
        shown = model.likelihood([rung.latent for rung in rungs], context).mean
    ideal = sum(float(rung.rate_nats.sum()) for rung in rungs) / math.log(2.0)
    assert abs(8 * len(data) / ideal - 1) < 0.1
    expected = psnr(pixels, (shown[0].permute(1, 2, 0).clamp(0, 1) * 255).round().byte().numpy())
    decoded = uniform.UniformCodec(model, dithered).decode(data)
    assert abs(psnr(pixels, decoded) - expected) < 1


def test_the_dither_makes_the_error_uniform(uniform: ModuleType, model: SlicedLadder) -> None:
    prior = torch.distributions.Normal(torch.zeros(1, 1, 1, 20000), torch.full((1, 1, 1, 20000), 3))
    codec = uniform.UniformCodec(model, True)
    _, _, offset = codec._plan(prior, 0)
    y = 2.7
    error = (np.rint(y / uniform.WIDTH - offset) + offset) * uniform.WIDTH - y
    assert np.abs(error).max() <= uniform.WIDTH / 2
    # Kolmogorov-Smirnov, false alarms at 1e-3.
    place = np.sort(error / uniform.WIDTH + 0.5)
    distance = np.abs(place - (np.arange(place.size) + 0.5) / place.size).max()
    assert distance * math.sqrt(place.size) < 1.95


def test_the_centroid_is_the_mean_of_its_cell(uniform: ModuleType) -> None:
    torch.manual_seed(0)
    prior = torch.distributions.Normal(torch.tensor([0.3]), torch.tensor([2.5]))
    y = prior.sample((400_000,))
    for k in (-2, 0, 1):
        middle = prior.loc + k * uniform.WIDTH
        cell = y[(y - middle).abs() < uniform.WIDTH / 2]
        # Four standard errors: false alarms at 1e-4 in all.
        assert abs(float(uniform.centroid(middle, prior)) - float(cell.mean())) < 4 * float(
            cell.std() / len(cell) ** 0.5
        )
    far = uniform.centroid(prior.loc + 200.0, prior)
    assert abs(float(far - prior.loc) - (200 - uniform.WIDTH / 2)) < 0.1
