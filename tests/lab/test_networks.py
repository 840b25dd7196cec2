"""Recipes end to end on a task of a few seconds."""

from dataclasses import replace
from pathlib import Path

import pytest
import torch

import laconic
from laconic.errors import ConfigError
from laconic.lab.recipes.weights import (
    STEP_SCALES,
    coded,
    converted,
    measure,
    read_recipe,
    run_recipe,
    widths_of,
)
from laconic.lab.tasks import Data, held_out
from laconic.networks.resnet import ResNet
from laconic.training import checkpoints
from laconic.training.augmentation import shift, shift_and_mirror
from laconic.weights import plain

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


@pytest.mark.slow
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


def test_a_changed_recipe_does_not_pass_off_the_old_network_as_its_own(folder: Path) -> None:
    changed = read_recipe({**RECIPE, "settings": {"threshold": 2.0}})
    with pytest.raises(ConfigError, match="another recipe"):
        run_recipe(changed, digits(), [0], folder, silent)


@pytest.mark.slow
def test_the_coarsest_step_that_training_data_allow_is_taken(folder: Path) -> None:
    data = digits()
    strict = read_recipe({**RECIPE, "allowed_points": 0.1})
    loose = read_recipe({**RECIPE, "allowed_points": 100.0})
    net, penalty = converted(strict, data, 0, folder, silent)
    careful, careless = (coded(one, net, penalty, data, 0, folder) for one in (strict, loose))
    assert careless[1] == STEP_SCALES[0] > careful[1]
    assert len(careless[0]) < len(careful[0])
    good, bad = (
        measure(strict, net, *one, data)["training_error_percent"] for one in (careful, careless)
    )
    assert good <= 0.1 < bad


@pytest.mark.slow
def test_draws_are_refined_and_decode_to_what_is_measured(tmp_path: Path) -> None:
    settings = {"budget_bytes": 4000, "beta": 0.1, "beta_rate": 0.02}
    train = {"epochs": 16, "rate": 2e-3}
    options = {"block_bytes": 1000, "refine_steps": 23, "settings": settings, "train": train}
    recipe = read_recipe({**RECIPE, **options, "name": "drawn", "method": "miracle"})
    (row,) = run_recipe(recipe, digits(), [0], tmp_path, silent)
    assert row["csr_huffman_bytes"] is None
    assert row["error_percent"] < 5
    assert 300 < row["file_bytes"] < 5000
    log = (tmp_path / "drawn/0/refine/log.csv").read_text().splitlines()
    column = log[0].split(",").index("learning_rate")
    rates = [float(line.split(",")[column]) for line in log[1:]]
    assert rates == sorted(rates, reverse=True)
    assert rates[-1] < recipe.refine_rate


@pytest.mark.slow
def test_a_network_can_be_pruned_before_conversion(tmp_path: Path) -> None:
    """It is trained again narrow, and ratios count what it was before."""
    settings = {"budget_bytes": 1500, "beta": 0.1, "beta_rate": 0.02}
    train = {"epochs": 16, "rate": 2e-3}
    options = {"outputs": {"fc1": 20, "fc2": 15}, "settings": settings, "train": train}
    recipe = read_recipe({**RECIPE, **options, "name": "narrow", "method": "miracle"})
    (row,) = run_recipe(recipe, digits(), [0], tmp_path, silent)
    assert row["widths"] == {"fc1": 784, "fc2": 20, "fc3": 15}
    assert row["weights_kept"] == 785 * 20 + 21 * 15 + 16 * 10
    assert row["file_ratio"] == 4 * 266_610 / row["file_bytes"]
    assert row["file_bytes"] < 2000
    assert row["error_percent"] < 5
    wider = replace(recipe, outputs={"fc1": 30})
    with pytest.raises(ConfigError, match="trained by another recipe"):
        converted(wider, digits(), 0, tmp_path, silent)


@pytest.mark.slow
def test_networks_trained_on_changed_data_are_others(tmp_path: Path) -> None:
    """What was trained without shifts must not be taken for what is trained with them."""
    task = digits()
    first = read_recipe(RECIPE)
    converted(first, task, 0, tmp_path, silent)
    shifted = replace(first, data="mnist-shifted")
    converted(replace(shifted, name="other"), replace(task, augment=shift), 0, tmp_path, silent)
    assert len(list((tmp_path / "pretrained").iterdir())) == 2
    with pytest.raises(ConfigError, match="trained by another recipe"):
        converted(shifted, task, 0, tmp_path, silent)


def test_widths_count_what_is_left() -> None:
    conv, linear = torch.ones(4, 2, 3, 3), torch.ones(5, 6)
    conv[1] = 0
    linear[:, [0, 3]] = 0
    assert widths_of({"conv": conv, "linear": linear}) == {"conv": 3, "linear": 4}


def test_held_out_examples_are_not_trained_on() -> None:
    data = digits()
    part = held_out(data, 500)
    assert torch.equal(torch.cat([part.inputs, part.test_inputs]), data.inputs)
    assert torch.equal(part.test_labels, data.labels[-500:])
    with pytest.raises(ConfigError, match="3000 examples cannot be held out"):
        held_out(data, 3000)


@pytest.mark.slow
def test_a_stage_may_end_with_the_average_of_its_weights(tmp_path: Path) -> None:
    """Not with the last weights, and a finished run is loaded as it ended."""
    train = {"epochs": 1, "average": 0.9}
    recipe = read_recipe({**RECIPE, "name": "averaged", "train": train})
    nets = [converted(recipe, digits(), 0, tmp_path, silent)[0] for _ in range(2)]
    tensors = checkpoints.load(tmp_path / "averaged/0/checkpoint.safetensors")[0]
    mean = nets[0].get_parameter("fc1.posterior.mean")
    assert torch.equal(mean, tensors["average.net.fc1.posterior.mean"])
    assert not torch.equal(mean, tensors["model.net.fc1.posterior.mean"])
    assert torch.equal(mean, nets[1].get_parameter("fc1.posterior.mean"))


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore::laconic.weights.convert.UntouchedModules")
def test_batch_norms_end_with_statistics_of_what_is_stored(tmp_path: Path) -> None:
    generator = torch.Generator().manual_seed(0)
    x, y = torch.randn(64, 3, 32, 32, generator=generator), torch.arange(64) % 10
    task = Data(x, y, x, y, shift_and_mirror)
    stage = {"epochs": 1, "batch": 32}
    train = {**stage, "average": 0.5}
    named = {"name": "norms", "network": "resnet-20", "method": "l0"}
    recipe = read_recipe({**named, "pretrain": stage, "train": train, "step_scales": [4.0]})
    net, penalty = converted(recipe, task, 0, tmp_path, silent)
    before = plain(net)
    file, _ = coded(recipe, net, penalty, task, 0, tmp_path)
    rounded = ResNet().eval()
    laconic.expand(file, into=rounded)
    assert isinstance(before, ResNet)
    assert not torch.equal(before.conv.weight, rounded.conv.weight)
    for stored in (before, rounded):
        expected = stored.conv(x).mean((0, 2, 3))
        torch.testing.assert_close(stored.norm.running_mean, expected, atol=1e-5, rtol=1e-4)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"network": "alexnet"}, "alexnet"),
        ({"data": "cifar11"}, "cifar11"),
        ({"train": {"epoch": 3}}, r"train\.epoch"),
        ({"colour": 3}, "colour"),
        ({"method": None}, "method"),
    ],
)
def test_bad_recipes_are_named(change: dict[str, object], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        read_recipe({**RECIPE, **change})
