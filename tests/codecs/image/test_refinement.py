"""Refined posteriors: the objective falls, nothing else changes, and the same bytes every time."""

import math
import warnings
from collections.abc import Callable

import numpy as np
import pytest
import torch

from laconic.codecs.image.codec import ImageCodec, SmallFileWarning, quality_step
from laconic.codecs.image.file import ImageFile
from laconic.codecs.image.refinement import STEPS, objective_of, refine
from laconic.errors import ConfigError, InputError
from laconic.models.base import Context
from laconic.models.pyramid import Pyramid
from laconic.models.sliced.ladder import SlicedLadder
from laconic.progress import silent
from laconic.training.objectives.elbo import Elbo
from laconic.training.objectives.structural import Structural

Small = Callable[[], SlicedLadder]


def picture() -> np.ndarray:
    rows, columns = np.mgrid[:32, :40] / 6
    waves = [np.sin(rows + k) * np.cos(columns * (k + 1) / 2) for k in range(3)]
    return (128 + 90 * np.stack(waves, 2)).astype(np.uint8)


def cost(model: SlicedLadder, x: torch.Tensor, features: object, context: Context) -> float:
    """The mean objective of a few draws, in nats."""
    torch.manual_seed(3)
    total = 0.0
    for _ in range(4):
        rungs, state = model.draw_latents(features, context)
        total += float(Elbo()(x, rungs, state.likelihood(), context.log_beta).loss)
    return total / 4


def test_the_objective_falls(small_ladder: Small) -> None:
    model, steps = small_ladder(), []
    x = torch.from_numpy(picture()).permute(2, 0, 1)[None] / 255
    with torch.inference_mode():
        context = model.context(x.shape[2:], 500, 1000)
        features = model.encode(x, context)
        state = torch.get_rng_state()
        refined = [
            refine(model, x, features, context, 0, 6, lambda done, _: steps.append(done))
            for _ in range(2)
        ]
        assert torch.equal(state, torch.get_rng_state())
        before, after = (cost(model, x, one, context) for one in (features, refined[0]))
    assert after < before - 0.01 * abs(before)
    assert all(torch.equal(a, b) for a, b in zip(*refined, strict=True))
    assert steps == [1, 2, 3, 4, 5, 6] * 2
    assert all(parameter.grad is None for parameter in model.parameters())


def test_features_and_parameters_undo_each_other(small_ladder: Small) -> None:
    model = small_ladder()
    x = torch.rand(1, 3, 16, 24)
    features = model.encode(x, model.context((16, 24), 300, 1000))
    again = model.to_features(model.free_parameters(features))
    for one, other in zip(features, again, strict=True):
        torch.testing.assert_close(one, other)


def test_coders_take_their_time_from_effort_five_on(small_ladder: Small) -> None:
    registers = [
        [
            coder.config()["state_bits"]
            for coder in ImageCodec(small_ladder(), "small", b"sliced01", effort=effort).coders
        ]
        for effort in (4, 5)
    ]
    assert set(registers[0]) == {15}
    assert set(registers[1]) == {16}
    plain = ImageCodec(small_ladder(), "small", b"sliced01", "greedy", effort=9).coders
    assert [type(coder)() for coder in plain] == list(plain), "it has one way only"


def test_files_of_every_effort(small_ladder: Small) -> None:
    """They say nothing of it and decode as ever; rate + distortion of the real file falls."""
    costs = []
    for effort in (0, 5):
        calls: list[tuple[int, int]] = []
        codec = ImageCodec(small_ladder(), "small", b"sliced01", "importance", effort=effort)
        codec.progress = lambda done, total, calls=calls: calls.append((done, total))
        data = codec.encode(picture(), quality=60)
        assert calls == [(k + 1, STEPS[effort] + 1) for k in range(STEPS[effort] + 1)]
        codec.progress = silent
        shown = np.asarray(codec.decode(data)).astype(float)
        squared = float((((shown - picture()) / 255) ** 2).sum())
        beta = float(codec.runtime.context(32, 40, quality_step(60)).log_beta.exp())
        nats = ImageFile.read(data).describe().ideal_bits * math.log(2)
        costs.append(nats + squared / (2 * beta))
    assert costs[1] < 0.97 * costs[0]


def test_a_size_is_kept(small_ladder: Small) -> None:
    codec = ImageCodec(small_ladder(), "small", b"sliced01", "importance", effort=1)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", SmallFileWarning)
        data = codec.encode(picture(), bpp=9.0)
    assert 8 * len(data) <= 9.0 * 32 * 40


def test_the_objective_is_the_model_s() -> None:
    assert objective_of(None, (192, 192)) == Structural(0.5)
    assert objective_of(8192, (192, 192)) == Structural(1.0)
    for taste, shape in ((0, (192, 192)), (8192, (160, 192))):
        assert isinstance(objective_of(taste, shape), Elbo)


def test_refusals() -> None:
    for effort in (-1, 10):
        with pytest.raises(InputError, match="effort"):
            ImageCodec(Pyramid(), "pyramid", b"pyramid!", effort=effort)
    with pytest.raises(ConfigError, match="leave out effort"):
        ImageCodec(Pyramid(), "pyramid", b"pyramid!", effort=1).encode(picture())
