"""The dictionary of all measures, for every kind of model, and the grids."""

import json
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor
from torch.distributions import Bernoulli, Distribution, Independent

from laconic.errors import ConfigError, InputError
from laconic.evaluation.models.estimates import Sampling, UnavailableMeasureError
from laconic.evaluation.models.measures import MeasureConfig, grids, measure_model
from laconic.models.base import LatentVariableModel
from laconic.models.dense.networks import DenseConfig
from laconic.models.dense.vae import DenseVAE
from laconic.models.pln import PLN, PLN_PRESETS
from laconic.models.vae import VAE, VAE_PRESETS
from laconic.training.config import build

Model = Callable[..., Any]
QUICK = MeasureConfig(
    iwae_draws=3,
    iwae_images=6,
    ais_steps=3,
    ais_chains=2,
    ais_leapfrogs=1,
    ais_images=3,
    information_images=6,
    generated=5,
    reference=4,
    batch=4,
)
ALWAYS = {"rate_nats", "distortion_nats", "negative_elbo_nats", "iwae_nats"}
ONE_LEVEL = {"information_nats", "aggregate_gap_nats", "ais_nats"}
GENERATIVE = {"generative_lower_nats", "generative_upper_nats", "generative_upper_iwae_nats"}


@pytest.fixture
def digits() -> Tensor:
    return torch.bernoulli(torch.full((8, 1, 28, 28), 0.2))


def dense(likelihood: str) -> DenseVAE:
    torch.manual_seed(0)
    return DenseVAE(DenseConfig(latents=5, hidden=(16,), planes=2, width=4, likelihood=likelihood))


def test_a_model_of_one_level_gives_everything(digits: Tensor) -> None:
    model = dense("bernoulli")
    found = measure_model(model, digits, QUICK, train=digits)
    assert set(found) == (
        ALWAYS | ONE_LEVEL | GENERATIVE | {"train_rate_nats", "train_distortion_nats"}
    )
    assert json.loads(json.dumps(found)) == found
    assert found["iwae_nats"]["draws"] == 3
    assert found["iwae_nats"]["images"] == 6
    assert set(found["ais_nats"]) == {
        *("value", "error", "steps", "chains", "images", "accepted", "effective_chains")
    }
    bounds = found["information_nats"]
    assert set(bounds) == {*("lower", "lower_error", "upper", "upper_error", "upper_by", "images")}
    assert bounds["upper"] <= found["rate_nats"]["value"]
    assert 0 <= found["aggregate_gap_nats"]["lower"] <= found["aggregate_gap_nats"]["value"]
    assert set(found["aggregate_gap_nats"]) == {"value", "error", "lower", "images"}
    assert found["generative_upper_nats"]["density"] in ("mixture", "pixels")
    total = found["rate_nats"]["value"] + found["distortion_nats"]["value"]
    assert found["negative_elbo_nats"]["value"] == pytest.approx(total)
    assert found["train_rate_nats"]["value"] == pytest.approx(found["rate_nats"]["value"])


def test_the_same_seed_gives_the_same_measures_whatever_else_is_taken(digits: Tensor) -> None:
    model = dense("bernoulli").train()
    before = torch.random.get_rng_state()
    found = measure_model(model, digits, QUICK)
    assert found == measure_model(model, digits, QUICK)
    fewer = measure_model(
        model, digits, build(MeasureConfig, {"generated": 0, "batch": 4}, "measure")
    )
    assert fewer["distortion_nats"] == found["distortion_nats"]
    assert torch.equal(before, torch.random.get_rng_state())
    assert model.training


@pytest.mark.parametrize(
    ("model", "side", "missing"),
    [
        (lambda: dense("mixture"), 28, GENERATIVE),
        (lambda: PLN(PLN_PRESETS["tiny"]), 32, ONE_LEVEL),
        (lambda: VAE(VAE_PRESETS["tiny"]), 32, set()),
    ],
)
def test_what_a_model_cannot_give_is_absent(
    model: Callable[[], LatentVariableModel], side: int, missing: set[str]
) -> None:
    channels = 1 if side == 28 else 3
    torch.manual_seed(0)
    found = measure_model(model(), torch.rand(6, channels, side, side), QUICK)
    assert set(found) == (ALWAYS | ONE_LEVEL | GENERATIVE) - missing


def test_what_is_turned_off_is_absent(choices: Model) -> None:
    config = MeasureConfig(iwae_draws=0, information_images=0, generated=0)
    found = measure_model(choices(), choices().all_images, config, train=choices().all_images)
    assert set(found) == (ALWAYS - {"iwae_nats"}) | {"train_rate_nats", "train_distortion_nats"}


def test_progress_is_reported_by_name(digits: Tensor) -> None:
    ticks: list[tuple[str, int, int]] = []
    measure_model(dense("bernoulli"), digits, QUICK, digits, lambda *one: ticks.append(one))
    names = {name for name, done, total in ticks if done == total}
    assert names == {
        *("rate_distortion", "train_rate_distortion", "iwae", "ais", "information", "generative")
    }


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"iwae": 3}, "measure.iwae: unknown key"),
        ({"draws": 0}, "must be 1 or more"),
        ({"generated": -1}, "measure.generated: -1"),
        ({"generated": 1}, "no standard error"),
        ({"reference": 1}, "measure.reference"),
        ({"ais_steps": 5, "ais_start": "middle"}, "AIS start"),
        ({"ais_steps": 5, "ais_chains": 0}, "AIS"),
    ],
)
def test_impossible_settings(settings: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        build(MeasureConfig, settings, "measure")


def test_grids_hold_several_draws_for_one_latent(choices: Model) -> None:
    """With a decoder that is sure, the five draws of a latent are one picture."""
    model = choices()
    model.logits = 60.0 * torch.sign(model.logits)
    x = model.all_images
    found = grids(model, x, 6, sampling=Sampling(batch=4))
    assert found["inputs"].shape == (6, 2, 2)
    assert np.array_equal(found["inputs"], 255 * x[:6, 0].numpy().astype(np.uint8))
    sure = {picture.tobytes() for picture in (255 * (model.logits > 0)).numpy().astype(np.uint8)}
    for name in ("reconstructions", "generations"):
        assert found[name].shape == (6, 5, 2, 2)
        assert found[name].dtype == np.uint8
        assert all((row == row[0]).all() for row in found[name])
        assert {picture.tobytes() for row in found[name] for picture in row} <= sure
    again = grids(model, x, 6, sampling=Sampling(batch=4))
    assert all(np.array_equal(found[name], again[name]) for name in found)
    other = grids(model, x, 6, 3, Sampling(seed=1))
    assert other["generations"].shape == (6, 3, 2, 2)


def test_grids_of_colours_have_them_last() -> None:
    torch.manual_seed(0)
    found = grids(VAE(VAE_PRESETS["tiny"]), torch.rand(3, 3, 32, 32), 2, 4)
    assert found["reconstructions"].shape == (2, 4, 32, 32, 3)


def test_grids_need_a_likelihood_that_draws() -> None:
    with pytest.raises(UnavailableMeasureError, match="SharedMixture"):
        grids(dense("mixture"), torch.rand(2, 1, 28, 28), 2)
    with pytest.raises(InputError, match="two or more"):
        grids(dense("bernoulli"), torch.rand(1, 1, 28, 28), 1)


def test_broken_weights_end_in_one_line(choices: Model) -> None:
    class Broken(Independent):
        def log_prob(self, value: Tensor) -> Tensor:
            return super().log_prob(value) * float("nan")

    def likelihood(latents: Sequence[Tensor], context: Any) -> Distribution:
        return Broken(Bernoulli(logits=model.logits[latents[0]].reshape(-1, 1, 2, 2)), 3)

    model = choices()
    model.likelihood = likelihood
    with pytest.raises(InputError, match="distortion: 16 of 16 values"):
        measure_model(model, model.all_images)
