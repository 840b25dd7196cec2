"""Every model through the suite of models; and models that break its laws are caught."""

from collections.abc import Callable, Sequence
from itertools import product
from typing import Any, ClassVar

import pytest
import torch
from torch import Tensor
from torch.distributions import Distribution, Normal

from laconic.models import MODELS, make_model
from laconic.models.base import Context, Features, LatentVariableModel, NormalLadder
from laconic.models.pyramid import Pyramid
from laconic.testing import ModelSuite

FAMILIES = ["".join(kinds) for kinds in product("-+", "-+", "-+v")]


class Made(ModelSuite):
    """A model of `MODELS`."""

    settings: ClassVar[dict[str, Any]]

    def make(self) -> LatentVariableModel:
        torch.manual_seed(0)
        return make_model(self.settings)


class TestVAE(Made):
    settings: ClassVar = {"name": "vae", "width": 8, "latents": 6, "embedding": 4}


class TestConditionalVAE(Made):
    settings: ClassVar = TestVAE.settings | {"conditional": True}


class TestPLN(Made):
    settings: ClassVar = {
        "name": "pln", "width": 8, "prior_width": 8, "latents": 6, "top": 4, "learn_gamma": True,
    }  # fmt: skip


class TestSliced(Made):
    settings: ClassVar = {
        "name": "sliced", "block": 4, "slices": (3, 9), "top": 2, "fine_width": 8,
        "coarse_width": 8, "prior_width": 8, "embedding": 4,
    }  # fmt: skip


class TestGrown(Made):
    settings: ClassVar = TestSliced.settings | {
        "taste": True, "passes": (1, 2), "refiner_width": 8, "kernel": 3,
    }  # fmt: skip


class TestPixels(Made):
    has_integers = True
    settings: ClassVar = {
        "name": "pixels", "strides": (8, 4, 4), "latents": (4, 4, 3), "widths": (8, 8, 8),
    }  # fmt: skip


class TestCausalPixels(Made):
    has_integers = True
    settings: ClassVar = {
        "name": "pixels", "strides": (), "latents": (), "widths": (), "context_width": 8,
    }  # fmt: skip

    def examples(self) -> Tensor:
        return (
            torch.randint(118, 138, (3, 3, 6, 8), generator=torch.Generator().manual_seed(1)) / 255
        )


class TestPixelsWithContext(Made):
    has_integers = True
    settings: ClassVar = TestPixels.settings | {"context_width": 8}


class TestMarkov(Made):
    """Its files have another first prior: tests/models/markov compares the integers."""

    settings: ClassVar = {"name": "markov", "strides": (4, 2), "latents": (4, 4), "width": 8}

    def test_integers_are_the_floats_rounded(self) -> None:
        assert self.make().exact_ladder().levels == 1


class TestDense(Made):
    has_integers = True
    settings: ClassVar = {
        "name": "dense", "side": 8, "latents": 5, "hidden": (24, 16), "planes": 3, "width": 6,
        "mixtures": 4,
    }  # fmt: skip

    def examples(self) -> Tensor:
        return super().examples()[:, :1]


class TestBinaryDense(TestDense):
    settings: ClassVar = TestDense.settings | {"likelihood": "bernoulli"}

    def examples(self) -> Tensor:
        return (super().examples() > 0.5).float()


class FamilyLaws(Made):
    """Of one of the twelve families."""

    family: ClassVar[str]

    def make(self) -> LatentVariableModel:
        torch.manual_seed(0)
        sizes = {
            "latents": 6, "encoder": ((4, 4, 2), (5, 3, 1)), "read_out": 8, "decoder_start": 4,
            "decoder": ((4, 5, 1), (4, 4, 2)), "last": (4, 1), "flow_steps": 2,
            "flow_hidden": (8,), "pseudo_inputs": 4,
            "pixels": {"width": 4, "layers": (1,), "first_kernel": 3},
        }  # fmt: skip
        return make_model({"name": "family", "family": self.family, "side": 8, "sizes": sizes})

    def examples(self) -> Tensor:
        return (super().examples()[:, :1] > 0.5).float()


for _family in FAMILIES:
    _name = "TestFamily" + _family.translate(
        str.maketrans({"-": "Plain", "+": "Flow", "v": "Vamp"})
    )
    globals()[_name] = type(
        _name, (FamilyLaws,), {"family": _family, "has_integers": _family == "---"}
    )


class TestPyramid(ModelSuite):
    """The ladder of the examples, without weights."""

    def make(self) -> LatentVariableModel:
        return Pyramid()

    def test_gradients_reach_every_parameter(self) -> None:
        assert not list(self.make().parameters())


def test_every_model_has_its_suite() -> None:
    made = {kind.settings["name"] for kind in Made.__subclasses__() if "settings" in vars(kind)}
    assert made | {"family"} == set(MODELS)


class Faulty(NormalLadder):
    """Two levels of one number per example, spoiled by a fault."""

    def __init__(self, fault: str) -> None:
        super().__init__()
        self.fault, self.levels, self.stride, self.beta_range = fault, 2, 2, (1e-3, 1e-1)
        self.scale = torch.nn.Parameter(torch.tensor(0.5))
        self.idle = torch.nn.Parameter(torch.zeros(())) if fault == "idle parameter" else None
        self.last = torch.zeros(())

    def encode(self, x: Tensor, context: Context) -> Features:
        self.last = x.flatten(1).mean(1, keepdim=True)
        return [self.last]

    def prior(self, level: int, above: Sequence[Tensor], context: Context) -> Normal:
        zeros = context.log_beta.new_zeros(context.batch, 1)
        if self.fault == "prior sees the example":
            zeros = zeros + torch.rand(())
        return Normal(zeros + sum(above), torch.ones_like(zeros))

    def posterior(
        self, level: int, features: Features, above: Sequence[Tensor], prior: Any, context: Context
    ) -> Normal:
        loc = features[0].expand(-1, 2) if self.fault == "another shape" else features[0]
        scale = 0 * self.scale if self.fault == "no width" else self.scale
        return Normal(loc, scale.expand_as(loc), validate_args=False)

    def likelihood(self, latents: Sequence[Tensor], context: Context) -> Distribution:
        mean = sum(latents)[:, :, None, None].expand(-1, 3, *context.shape)  # type: ignore[index]
        return Normal(mean, self.scale)

    def exact_prior(self) -> Any:
        shift = 0.5 if self.fault == "another integer prior" else 0.0

        def prior(level: int, above: Sequence[Tensor], context: Context) -> Normal:
            own = self.prior(level, above, context)
            return Normal(own.loc + shift, own.scale)

        return prior

    def context(self, shape: Sequence[int], *settings: Any, **more: Any) -> Context:
        found = super().context(shape, *settings, **more)
        return Context(tuple(shape), found.condition) if self.fault == "no padding" else found


LAWS = [name for name in dir(ModelSuite) if name.startswith("test_")]


def broken(fault: str) -> set[str]:
    """The laws that a model with this fault breaks."""

    class Suite(ModelSuite):
        def make(self) -> LatentVariableModel:
            return Faulty(fault)

    found = set()
    for law in LAWS:
        check: Callable[[], None] = getattr(Suite(), law)
        try:
            check()
        except (AssertionError, RuntimeError, ValueError):
            found.add(law)
    return found


@pytest.mark.parametrize(
    ("fault", "law"),
    [
        ("another shape", "test_every_level_has_one_shape"),
        ("no width", "test_every_level_has_one_shape"),
        ("idle parameter", "test_gradients_reach_every_parameter"),
        ("prior sees the example", "test_the_receiver_has_the_senders_priors"),
        ("another integer prior", "test_an_exact_prior_is_the_floats_rounded"),
        ("no padding", "test_a_file_can_carry_the_context"),
    ],
)
def test_faults_are_found(fault: str, law: str) -> None:
    assert law in broken(fault)


def test_a_model_without_faults_passes() -> None:
    assert broken("") == set()
