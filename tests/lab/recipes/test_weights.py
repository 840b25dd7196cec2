"""Recipes of network compression end to end on a task of a few seconds."""

import json
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn
from typer.testing import CliRunner

import laconic
from laconic.cli import app
from laconic.errors import ConfigError
from laconic.lab import table
from laconic.lab import tasks as tasks_module
from laconic.lab.recipes.classifier import ClassifierRecipe, settle
from laconic.lab.recipes.weights import (
    STEP_SCALES,
    WeightsRecipe,
    coded,
    measure_network,
    widths_of,
)
from laconic.lab.runs import complete, make_trainer
from laconic.lab.tasks import Data, held_out
from laconic.networks.resnet import ResNet
from laconic.training import checkpoints
from laconic.training.augmentation import shift, shift_and_mirror
from laconic.training.classification import ClassifierLoss
from laconic.weights import Penalty, plain

RECIPE: dict[str, Any] = {
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


@pytest.fixture(scope="module", autouse=True)
def tasks() -> Iterator[pytest.MonkeyPatch]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setitem(tasks_module.TASKS, "mnist", lambda root: digits())
        patch.setitem(
            tasks_module.TASKS, "mnist-shifted", lambda root: replace(digits(), augment=shift)
        )
        tasks_module._read_task.cache_clear()
        yield patch
    tasks_module._read_task.cache_clear()


def recipe_in(folder: Path, **changes: Any) -> WeightsRecipe:
    return WeightsRecipe.read({**RECIPE, "runs": str(folder), **changes})


def converted(recipe: WeightsRecipe) -> tuple[nn.Module, Penalty]:
    """The network and its penalty after the second training."""
    complete(recipe.before())
    place = recipe.place / "checkpoint.safetensors"
    trainer = make_trainer(recipe, resume=place.exists())
    trainer.run()
    assert isinstance(trainer.loss, ClassifierLoss)
    assert isinstance(trainer.loss.penalty, Penalty)
    data = tasks_module.task(recipe.data, recipe.hold_out)
    return settle(trainer, recipe.train, data).eval(), trainer.loss.penalty


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Where the recipe has been run once."""
    place = tmp_path_factory.mktemp("networks")
    complete(recipe_in(place))
    return place


@pytest.mark.slow
def test_a_recipe_makes_a_row_and_a_file_that_computes_it(folder: Path) -> None:
    """What is trained is not trained again, and comes out the same."""
    place = folder / "quick" / "0"
    before, weights = (place / "net.lac").read_bytes(), (place / "checkpoint.safetensors").stat()
    (place / "result.json").unlink()
    row = complete(recipe_in(folder))
    assert row["format"] == "laconic network 1"
    assert row["error_percent"] < 3
    assert row["file_bytes"] == len(before)
    assert (place / "net.lac").read_bytes() == before
    assert row["file_ratio"] == 4 * 266_610 / row["file_bytes"]
    assert 1 < row["pruned_ratio"] < row["csr_huffman_ratio"]
    assert row["file_ratio"] > 30
    assert len((place / "log.csv").read_text().splitlines()) == 5
    assert weights.st_size == (place / "checkpoint.safetensors").stat().st_size


@pytest.mark.slow
def test_a_changed_recipe_does_not_pass_off_the_old_network_as_its_own(folder: Path) -> None:
    with pytest.raises(ConfigError, match=r"method\.threshold was 3\.0, is now 2\.0; remove"):
        complete(recipe_in(folder, settings={"threshold": 2.0}))
    with pytest.raises(ConfigError, match=r"measuring|allowed_points was None, is now 1\.0"):
        complete(recipe_in(folder, allowed_points=1.0))


def test_checkpoints_that_name_their_recipe_in_one_text_are_resumed(folder: Path) -> None:
    """So were they identified before digests."""
    stages = [
        f"Stage(epochs={epochs}, batch=128, rate=0.001, cooldown=1.0, penalty_start=0.0, "
        f"penalty_warmup={warmup}, clip=1000000.0, average=0.0, precision='32-true')"
        for epochs, warmup in ((2, 0.0), (4, 3.0))
    ]
    recipe = recipe_in(folder)
    names: list[tuple[WeightsRecipe | ClassifierRecipe, str]] = [
        (recipe, f"('lenet-300-100', 'mnist', 'sparse-vd', {{}}, {stages[0]}, {stages[1]})"),
        (recipe.before(), f"('lenet-300-100', 'mnist', {stages[0]})"),
    ]
    for one, name in names:
        assert one.recorded({"made_by": name}) == one.recorded({"settings": json_of(one)})
        assert one.recorded({"made_by": name + " "}) != one.recorded({"settings": json_of(one)})


def json_of(recipe: WeightsRecipe | ClassifierRecipe) -> Any:
    path = recipe.place / "result.json"
    return json.loads(path.read_text())["settings"]["training"]


@pytest.mark.slow
def test_the_coarsest_step_that_training_data_allow_is_taken(folder: Path) -> None:
    data = digits()
    strict, loose = (recipe_in(folder, allowed_points=points) for points in (0.1, 100.0))
    net, penalty = converted(strict)
    careful, careless = (coded(one, net, penalty, data) for one in (strict, loose))
    assert careless[1] == STEP_SCALES[0] > careful[1]
    assert len(careless[0]) < len(careful[0])
    good, bad = (
        measure_network(strict, net, *one, data)["training_error_percent"]
        for one in (careful, careless)
    )
    assert good <= 0.1 < bad


@pytest.mark.slow
def test_draws_are_refined_and_decode_to_what_is_measured(tmp_path: Path) -> None:
    settings = {"budget_bytes": 4000, "beta": 0.1, "beta_rate": 0.02}
    train = {"epochs": 16, "rate": 2e-3}
    options = {"block_bytes": 1000, "refine_steps": 23, "settings": settings, "train": train}
    recipe = recipe_in(tmp_path, **options, name="drawn", method="miracle")
    row = complete(recipe)
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
    recipe = recipe_in(tmp_path, **options, name="narrow", method="miracle")
    row = complete(recipe)
    assert row["widths"] == {"fc1": 784, "fc2": 20, "fc3": 15}
    assert row["weights_kept"] == 785 * 20 + 21 * 15 + 16 * 10
    assert row["file_ratio"] == 4 * 266_610 / row["file_bytes"]
    assert row["file_bytes"] < 2000
    assert row["error_percent"] < 5
    with pytest.raises(ConfigError, match=r"outputs\.fc1 was 20, is now 30"):
        complete(replace(recipe, outputs={"fc1": 30}))


@pytest.mark.slow
def test_networks_trained_on_changed_data_are_others(tmp_path: Path) -> None:
    """What was trained without shifts must not be taken for what is trained with them."""
    short = {"epochs": 1}
    first = recipe_in(tmp_path, pretrain=short, train=short, allowed_points=100.0)
    complete(first)
    shifted = replace(first, data="mnist-shifted")
    complete(replace(shifted, name="other"))
    assert len(list((tmp_path / "pretrained").iterdir())) == 2
    with pytest.raises(ConfigError, match="data was mnist, is now mnist-shifted"):
        complete(shifted)


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
    recipe = recipe_in(tmp_path, name="averaged", train={"epochs": 1, "average": 0.9})
    nets = [converted(recipe)[0] for _ in range(2)]
    tensors = checkpoints.load(tmp_path / "averaged/0/checkpoint.safetensors")[0]
    mean = nets[0].get_parameter("fc1.posterior.mean")
    assert torch.equal(mean, tensors["average.net.fc1.posterior.mean"])
    assert not torch.equal(mean, tensors["model.net.fc1.posterior.mean"])
    assert torch.equal(mean, nets[1].get_parameter("fc1.posterior.mean"))


@pytest.mark.filterwarnings("ignore::laconic.weights.convert.UntouchedModules")
def test_batch_norms_end_with_statistics_of_what_is_stored(
    tmp_path: Path, tasks: pytest.MonkeyPatch
) -> None:
    generator = torch.Generator().manual_seed(0)
    x, y = torch.randn(64, 3, 32, 32, generator=generator), torch.arange(64) % 10
    task = Data(x, y, x, y, shift_and_mirror)
    tasks.setitem(tasks_module.TASKS, "cifar10", lambda root: task)
    stage = {"epochs": 1, "batch": 32}
    named = {"name": "norms", "network": "resnet-20", "method": "l0", "data": "cifar10"}
    train = {**stage, "average": 0.5}
    recipe = recipe_in(tmp_path, **named, pretrain=stage, train=train, step_scales=[4.0])
    net, penalty = converted(recipe)
    before = plain(net)
    file, _ = coded(recipe, net, penalty, task)
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
        ({"method": "l9"}, "l9"),
        ({"settings": {"colour": 3}}, r"settings\.colour"),
    ],
)
def test_bad_recipes_are_named(change: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        WeightsRecipe.read({**RECIPE, **change}).training()


def test_train_runs_a_recipe_of_network_compression(folder: Path, tmp_path: Path) -> None:
    """The command refuses, resumes and begins anew as for every other recipe."""
    config = tmp_path / "quick.yaml"
    config.write_text(
        f"recipe: weights\nruns: {folder}\nname: quick\nnetwork: lenet-300-100\n"
        f"method: sparse-vd\npretrain: {{epochs: 2}}\ntrain: {{epochs: 1}}\n"
        f"allowed_points: 100\nfolder: {tmp_path / 'run'}\n"
    )
    done = CliRunner().invoke(app, ["train", str(config)])
    assert done.exit_code == 0, done.stderr
    assert "times smaller" in done.stderr
    assert "nats/example" in done.stderr
    result = json.loads((tmp_path / "run" / "result.json").read_text())
    assert result["file_bytes"] == (tmp_path / "run" / "net.lac").stat().st_size
    again = CliRunner().invoke(app, ["train", str(config)])
    assert again.exit_code == 1
    assert "--resume" in again.stderr
    longer = ["train", str(config), "--set", "train.epochs=2"]
    refused = CliRunner().invoke(app, [*longer, "--resume"])
    assert refused.exit_code == 1
    assert "train.epochs was 1, is now 2" in refused.stderr
    assert CliRunner().invoke(app, [*longer, "--force"]).exit_code == 0
    assert CliRunner().invoke(app, [*longer, "--resume"]).exit_code == 0


@pytest.mark.slow
def test_a_folder_of_recipes_becomes_its_results(
    folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """The row of a finished run is taken, older rows of others stay."""
    place = tmp_path / "experiments" / "trial"
    place.mkdir(parents=True)
    lines = [f"{key}: {json.dumps(value)}" for key, value in RECIPE.items()]
    (place / "quick.yaml").write_text("\n".join(lines))
    older = [{"recipe": "quick", "seed": seed, "error_percent": 50.0} for seed in (0, 1)]
    (place / "results.json").write_text(json.dumps({"title": "Trial", "shrunk": older}))
    table.main(place, ["--runs", str(folder)])
    document = json.loads((place / "results.json").read_text())
    assert document["title"] == "Trial"
    assert document["run"]["command"] == "python experiments/trial/run.py"
    first, second = document["shrunk"]
    assert first["error_percent"] < 3
    assert second == older[1]
    assert '"recipe": "quick"' in capsys.readouterr().out
