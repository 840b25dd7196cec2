"""Means, standard errors, and that a measurement leaves everything as it was."""

import pytest
import torch
from torch.distributions import Distribution

from laconic.errors import InputError, LaconicError
from laconic.evaluation.models.estimates import (
    BrokenMeasureError,
    Estimate,
    Sampling,
    UnavailableMeasureError,
    batches,
    check_images,
    draw_pictures,
    estimate,
    measuring,
    split,
)


def test_an_estimate_is_a_mean_and_its_standard_error() -> None:
    found = estimate(torch.tensor([1.0, 2.0, 3.0, 6.0]), "rate")
    assert found.value == 3
    assert found.error == pytest.approx((14 / 3 / 4) ** 0.5)
    assert found.plain() == {"value": found.value, "error": found.error}
    assert isinstance(found, Estimate)


@pytest.mark.parametrize("bad", [float("nan"), float("inf"), -float("inf")])
def test_what_is_not_finite_is_an_error_that_names_the_measure(bad: float) -> None:
    with pytest.raises(BrokenMeasureError, match="IWAE bound: 1 of 3") as caught:
        estimate(torch.tensor([1.0, bad, 2.0]), "IWAE bound")
    assert isinstance(caught.value, LaconicError)


def test_one_value_gives_no_error() -> None:
    with pytest.raises(InputError, match="rate: 1 images give no standard error"):
        estimate(torch.ones(1), "rate")


def test_measuring_leaves_mode_gradients_and_random_numbers_alone(tiny_model) -> None:  # noqa: ANN001
    tiny_model.train()
    before = torch.random.get_rng_state()
    with measuring(tiny_model, 5):
        first = torch.rand(3)
        assert not tiny_model.training
        assert not torch.is_grad_enabled()
    with measuring(tiny_model, 5):
        assert torch.equal(first, torch.rand(3))
    assert tiny_model.training
    assert torch.is_grad_enabled()
    assert torch.equal(before, torch.random.get_rng_state())
    tiny_model.eval()


def test_batches_have_sizes_and_the_operating_point(tiny_model) -> None:  # noqa: ANN001
    ticks: list[tuple[int, int]] = []
    images = torch.rand(5, 3, 16, 8)
    found = list(
        batches(tiny_model, images, Sampling(2, beta=0.01), lambda *one: ticks.append(one))
    )
    assert [len(x) for x, _ in found] == [2, 2, 1]
    assert ticks == [(1, 3), (2, 3), (3, 3)]
    _, context = found[0]
    assert context.shape == (16, 8)
    assert torch.allclose(context.log_beta.exp(), torch.tensor(0.01))
    (_, smallest), *_ = batches(tiny_model, images, Sampling())
    assert torch.allclose(smallest.log_beta.exp(), torch.tensor(tiny_model.beta_range[0]))
    assert [len(part) for part in split(images, 3)] == [3, 2]


@pytest.mark.parametrize(
    ("images", "message"),
    [
        (torch.rand(1, 3, 8, 8), "two or more"),
        (torch.rand(3, 8, 8), "two or more"),
        (torch.zeros(2, 3, 8, 8, dtype=torch.uint8), "as floats"),
        (torch.rand(2, 3, 8, 12), "multiples of 8"),
        (torch.full((2, 3, 8, 8), float("nan")), "not a number"),
    ],
)
def test_images_that_cannot_be_measured(
    tiny_model,  # noqa: ANN001
    images: torch.Tensor,
    message: str,
) -> None:
    with pytest.raises(InputError, match=message):
        check_images(tiny_model, images)


@pytest.mark.parametrize("settings", [{"batch": 0}, {"beta": 0.0}])
def test_impossible_sampling(settings: dict[str, float]) -> None:
    with pytest.raises(InputError):
        Sampling(**settings)  # type: ignore[arg-type]


def test_a_likelihood_without_draws_says_so() -> None:
    with pytest.raises(UnavailableMeasureError, match="no pictures can be drawn"):
        draw_pictures(Distribution(validate_args=False))
