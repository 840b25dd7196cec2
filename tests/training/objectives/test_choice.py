"""Objectives by name, as configurations choose them."""

from typing import Any

import pytest
import torch

from laconic.errors import ConfigError
from laconic.lab.recipes import read_recipe
from laconic.lab.recipes.latent import one_pass
from laconic.models import make_model
from laconic.training.loop import LoopConfig
from laconic.training.objectives.beta_range import LadderLoss
from laconic.training.objectives.bounds import Iwae
from laconic.training.objectives.choice import choose
from laconic.training.objectives.elbo import FreeBits, RateDistortion, beta_elbo, elbo
from laconic.training.objectives.rate_target import TargetRate
from laconic.training.objectives.score import Reinforce
from laconic.training.objectives.structural import Structural

DENSE = {"name": "dense", "side": 8, "latents": 3, "hidden": [6], "planes": 2, "width": 4,
         "likelihood": "bernoulli"}  # fmt: skip


def test_names_and_settings() -> None:
    assert choose("elbo", None) is elbo
    assert choose("gamma", None) is elbo
    assert choose({"name": "beta"}, None) is beta_elbo
    assert choose({"name": "rate-distortion", "beta": 2}, None) == RateDistortion(2.0)
    assert choose({"name": "free-bits", "nats": "1e-1"}, None) == FreeBits(0.1)
    assert choose({"name": "iwae", "draws": 7}, None) == Iwae(7)
    assert choose("structural", {"share": 0.5}) == Structural(0.5)
    assert choose({"name": "structural", "share": 0.1}, None) == Structural(0.1)
    target = choose({"name": "target-rate", "rate_nats": 3}, None)
    assert isinstance(target, TargetRate)
    assert target.config.rate_nats == 3.0


@pytest.mark.parametrize(
    ("section", "message"),
    [
        ("entropy", "not one of elbo"),
        ({"beta": 1.0}, "'None' is not one of"),
        ({"name": "rate-distortion", "gamma": 1.0}, r"objective\.gamma: unknown key"),
        ({"name": "elbo", "beta": 1.0}, r"objective\.beta: unknown key"),
        ({"name": "iwae", "draws": 1.5}, "expected int"),
        ({"name": "iwae", "draws": 0}, "at least 1"),
        ({"name": "target-rate", "rate_nats": -1}, "above 0"),
    ],
)
def test_wrong_sections_are_refused(section: Any, message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        choose(section, None)


def test_a_target_and_a_warm_up_contradict_each_other() -> None:
    with pytest.raises(ConfigError, match="kl_warmup_steps"):
        read_recipe(
            {"model": DENSE, "objective": "target-rate", "loop": {"kl_warmup_steps": 5}}
        ).training()


def test_draws_and_paths() -> None:
    assert elbo.draws == 1
    assert Iwae(3).draws == 3
    assert Reinforce().draws == 4
    assert elbo.pathwise
    assert not Reinforce().pathwise


@pytest.mark.parametrize(
    "section",
    ["elbo", {"name": "rate-distortion", "beta": 0.5}, {"name": "target-rate", "rate_nats": 2.0},
     {"name": "free-bits", "per": "dimension"}, {"name": "iwae", "draws": 3}, "reinforce"],
    ids=str,
)  # fmt: skip
def test_every_objective_trains_a_model(section: Any) -> None:
    torch.manual_seed(0)
    model = make_model(DENSE)
    objective = choose(section, None)
    loss = LadderLoss(one_pass(model, objective), objective, (1.0, 1.0), LoopConfig())
    value, numbers = loss([torch.rand(5, 1, 8, 8).round()], 0)
    value.backward()
    for name, parameter in model.named_parameters():
        assert parameter.grad is not None, name
        assert bool(parameter.grad.isfinite().all()), name
        if name.startswith("encoder"):  # Some of the decoder starts behind zeros.
            assert bool((parameter.grad != 0).any()), name
    assert {"rate_nats", "distortion_nats", "bits_per_pixel"} <= set(numbers)
    assert "psnr_db" not in numbers
    expected = numbers["distortion_nats"] + numbers["rate_nats"]
    if section == "elbo":
        assert 64 * float(value.detach()) == pytest.approx(expected, rel=1e-5)
