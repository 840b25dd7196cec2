"""The amortisation gap of real families: positive where the encoder is poor, none elsewhere."""

import pytest
import torch
from torch import nn

from laconic.evaluation.images.amortisation import amortisation_gap
from laconic.evaluation.models.estimates import Sampling, UnavailableMeasureError
from laconic.models.families.family import Family
from laconic.models.families.networks import FamilyConfig
from laconic.training.refinement import Refinement

TINY = {
    "latents": 4,
    "encoder": [[4, 4, 2]],
    "read_out": 8,
    "decoder_start": 6,
    "decoder": [[4, 4, 2]],
    "last": [3, 1],
    "flow_hidden": [8],
    "pseudo_inputs": 4,
    "pixels": {"width": 8, "layers": (1,)},
}
REFINEMENT = Refinement(steps=60, learning_rate=0.05, evaluation_draws=16)


def family(name: str) -> Family:
    torch.manual_seed(0)
    model = Family(FamilyConfig(name, "small", TINY, 8))
    for parameter in model.parameters():
        if parameter.ndim > 1:
            nn.init.normal_(parameter, std=0.4)
    return model


def pictures() -> torch.Tensor:
    return (torch.rand(6, 1, 8, 8, generator=torch.Generator().manual_seed(1)) < 0.4).float()


@pytest.mark.parametrize("name", ["---", "-+-", "--v", "--+"])
def test_an_untrained_encoder_leaves_much(name: str) -> None:
    found = amortisation_gap(family(name), pictures(), REFINEMENT, Sampling(batch=4))
    assert found.value > 5
    assert found.error < found.value


def test_nothing_is_left_where_the_latents_carry_nothing() -> None:
    """A decoder that ignores z has the marginal as its best posterior, which is where it starts."""
    model = family("---")
    for parameter in (*model.decoder.start.parameters(), *model.encoder.mean.parameters()):
        nn.init.zeros_(parameter)
    nn.init.zeros_(model.encoder.variance.weight)
    nn.init.constant_(model.encoder.variance.bias, float(torch.expm1(torch.tensor(1.0)).log()))
    found = amortisation_gap(model, pictures(), REFINEMENT)
    assert abs(found.value) < 1e-3


def test_the_model_is_left_as_it_was() -> None:
    model = family("---").train()
    before = [parameter.clone() for parameter in model.parameters()]
    amortisation_gap(model, pictures(), REFINEMENT)
    assert model.training
    assert all(parameter.grad is None for parameter in model.parameters())
    for kept, parameter in zip(before, model.parameters(), strict=True):
        assert torch.equal(kept, parameter)


def test_posteriors_that_are_not_normal_are_refused() -> None:
    with pytest.raises(UnavailableMeasureError, match="the posterior is not normal"):
        amortisation_gap(family("+--"), pictures(), REFINEMENT)
