"""Recipes end to end on a task of a few seconds."""

from pathlib import Path

import pytest
import torch

from laconic.errors import ConfigError
from laconic.evaluation.networks import (
    STEP_SCALES,
    Data,
    converted,
    measure,
    read_recipe,
    run_recipe,
    widths_of,
)

RECIPE = {
    "name": "quick", "network": "lenet-300-100", "method": "sparse-vd",
    "pretrain": {"epochs": 2}, "train": {"epochs": 4, "penalty_warmup": 3},
}  # fmt: skip


def digits() -> Data:
    """Ten blocks of a picture, one lit for each class, under noise."""
    generator = torch.Generator().manual_seed(0)
    labels = torch.arange(3200) % 10
    x = 0.3 * torch.randn(3200, 1, 28, 28, generator=generator)
    for label in range(10):
        row, column = divmod(label, 4)
        x[labels == label, 0, 7 * row : 7 * row + 7, 7 * column : 7 * column + 7] += 2
    return Data(x[:3000], labels[:3000], x[3000:], labels[3000:])


def silent(step: int, numbers: dict[str, float]) -> None:
    pass


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Where the recipe has been run once."""
    place = tmp_path_factory.mktemp("networks")
    run_recipe(read_recipe(RECIPE), digits(), [0], place, silent)
    return place


def test_a_recipe_makes_a_row_and_a_file_that_computes_it(folder: Path) -> None:
    """What is trained is not trained again, and comes out the same."""
    before = (folder / "quick/0/net.lac").read_bytes()
    (row,) = run_recipe(read_recipe(RECIPE), digits(), [0], folder, silent)
    assert row["error_percent"] < 3
    assert row["file_bytes"] == len(before)
    assert (folder / "quick/0/net.lac").read_bytes() == before
    assert row["file_ratio"] == 4 * 266_610 / row["file_bytes"]
    assert 1 < row["pruned_ratio"] < row["csr_huffman_ratio"]
    assert row["file_ratio"] > 30


def test_the_coarsest_step_that_training_data_allow_is_taken(folder: Path) -> None:
    data = digits()
    strict = read_recipe({**RECIPE, "allowed_points": 0.1})
    loose = read_recipe({**RECIPE, "allowed_points": 100.0})
    net, _ = converted(strict, data, 0, folder, silent)
    careful, careless = (measure(recipe, net, data)[0] for recipe in (strict, loose))
    assert careless["step_scale"] == STEP_SCALES[0] > careful["step_scale"]
    assert careful["training_error_percent"] <= 0.1 < careless["training_error_percent"]
    assert careless["file_bytes"] < careful["file_bytes"]


def test_widths_count_what_is_left() -> None:
    conv, linear = torch.ones(4, 2, 3, 3), torch.ones(5, 6)
    conv[1] = 0
    linear[:, [0, 3]] = 0
    assert widths_of({"conv": conv, "linear": linear}) == {"conv": 3, "linear": 4}


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"network": "alexnet"}, "alexnet"),
        ({"train": {"epoch": 3}}, r"train\.epoch"),
        ({"colour": 3}, "colour"),
        ({"method": None}, "method"),
    ],
)
def test_bad_recipes_are_named(change: dict[str, object], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        read_recipe({**RECIPE, **change})
