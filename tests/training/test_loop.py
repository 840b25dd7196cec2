"""The loop: it learns, resumes exactly, and leaves nothing half-written."""

from pathlib import Path

import numpy as np
import pytest
import torch

from laconic.data.patches import PatchSampler
from laconic.errors import ConfigError
from laconic.lab.recipes.latent import one_pass
from laconic.models import make_model
from laconic.training import checkpoints
from laconic.training.config import build, read_config
from laconic.training.loop import LoopConfig, Trainer
from laconic.training.objectives.beta_range import LadderLoss
from laconic.training.objectives.elbo import elbo
from laconic.training.schedules import LearningRate

TINY = {
    "name": "sliced", "block": 4, "slices": [3, 9], "top": 2, "fine_width": 8, "coarse_width": 8,
    "prior_width": 8, "embedding": 4, "fine_blocks": [1, 1], "coarse_blocks": [1, 1],
}  # fmt: skip


def smooth_images() -> list[np.ndarray]:
    rows, columns = np.mgrid[:64, :64]
    return [
        (
            127 + 100 * np.sin(rows / a)[..., None] * np.cos(columns / b)[..., None] * np.ones(3)
        ).astype(np.uint8)
        for a, b in ((5, 7), (9, 4))
    ]


def trainer(folder: Path, **settings: object) -> Trainer:
    torch.manual_seed(0)
    model = make_model(TINY)
    values = {"steps": 30, "precision": "32-true", "log_steps": 5, **settings}
    config = build(LoopConfig, values, "loop")
    loss = LadderLoss(one_pass(model, elbo), elbo, model.beta_range, config)
    sampler = PatchSampler(smooth_images(), 16, 4, 0)
    rate = LearningRate(peak=3e-3, warmup_steps=1)
    return Trainer(model, loss, sampler, rate, config, folder, {"model": TINY})


def test_it_learns(tmp_path: Path) -> None:
    run = trainer(tmp_path, steps=60)
    rows: list[dict[str, float]] = []
    run.run(lambda step, row: rows.append(row))
    assert rows[-1]["loss"] < rows[0]["loss"] - 0.1
    assert (tmp_path / "log.csv").read_text().count("\n") == 13


def test_resuming_is_exact(tmp_path: Path) -> None:
    """Stopped after 10 of 30 steps and resumed: the uninterrupted run's weights bit for bit."""
    whole = trainer(tmp_path / "whole")
    whole.run()
    trainer(tmp_path / "parts", steps=10).run()
    parts = trainer(tmp_path / "parts")
    parts.resume()
    assert parts.step == 10
    parts.run()
    for name, value in whole.model.state_dict().items():
        torch.testing.assert_close(parts.model.state_dict()[name], value, rtol=0, atol=0)
    for name, value in whole.average.state_dict().items():
        torch.testing.assert_close(parts.average.state_dict()[name], value, rtol=0, atol=0)


def test_an_interruption_saves(tmp_path: Path) -> None:
    run = trainer(tmp_path)

    def interrupt(step: int, row: dict[str, float]) -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        run.run(interrupt)
    assert checkpoints.load(run.checkpoint)[1]["step"] == 5
    assert [path.name for path in tmp_path.iterdir() if "part" in path.name] == []


def test_the_minute_limit_stops(tmp_path: Path) -> None:
    run = trainer(tmp_path, minutes=1e-6)
    run.run()
    assert run.step == 1


def test_damaged_checkpoints_are_refused(tmp_path: Path) -> None:
    run = trainer(tmp_path)
    run.checkpoint.write_bytes(b"\0" * 50)
    with pytest.raises(ConfigError, match="not a readable checkpoint"):
        run.resume()


def test_tensorboard_gets_event_files(tmp_path: Path) -> None:
    trainer(tmp_path, steps=5, logger="tensorboard").run()
    assert list(tmp_path.glob("events.*"))
    with pytest.raises(ConfigError, match="logger"):
        trainer(tmp_path, logger="paper")


def test_half_precision_trains(tmp_path: Path) -> None:
    run = trainer(tmp_path, steps=5, precision="bf16-mixed")
    run.run()
    assert all(bool(torch.isfinite(p).all()) for p in run.model.parameters())


def test_learning_rate_schedule() -> None:
    rate = LearningRate(
        peak=1.0,
        warmup_steps=10,
        decay_rate=0.5,
        decay_steps=100,
        cooldown_start=200,
        cooldown_steps=100,
    )
    assert rate.at(4) == pytest.approx(0.5 * 0.5**0.04)
    assert rate.at(100) == pytest.approx(0.5)
    assert rate.at(250) == pytest.approx(0.5**2.5 * 0.5)
    assert rate.at(400) == 0


def test_configurations(tmp_path: Path) -> None:
    path = tmp_path / "c.yaml"
    path.write_text("rate:\n  peak: 1e-4\nloop:\n  steps: 7\n")
    config = read_config(path, ["loop.steps=9", "rate.decay_rate=1"])
    assert build(LoopConfig, config["loop"], "loop").steps == 9
    assert build(LearningRate, config["rate"], "rate") == LearningRate(peak=1e-4, decay_rate=1.0)
    with pytest.raises(ConfigError, match=r"loop\.stepz"):
        build(LoopConfig, {"stepz": 1}, "loop")
    with pytest.raises(ConfigError, match="expected int"):
        build(LoopConfig, {"steps": "many"}, "loop")
    with pytest.raises(ConfigError, match="KEY=VALUE"):
        read_config(path, ["loop.steps"])
    path.write_text("- a")
    with pytest.raises(ConfigError, match="mapping"):
        read_config(path)


def test_a_new_sitting_warms_up_again(tmp_path: Path) -> None:
    rate = LearningRate(peak=1.0, warmup_steps=10, decay_rate=1.0)
    assert rate.at(100, sitting_start=100) == pytest.approx(0.1)
    first, second = trainer(tmp_path / "first", steps=5), trainer(tmp_path / "second", steps=8)
    first.run()
    second.start_from(first.average.state_dict(), first.step)
    second.run()
    again = trainer(tmp_path / "second", steps=8)
    again.resume()
    assert (again.step, again.sitting_start) == (8, 5)


def test_half_a_step_is_never_saved(tmp_path: Path) -> None:
    """Stopped between the weights' change and the count of it: the last checkpoint stays."""
    run = trainer(tmp_path, steps=8, checkpoint_minutes=0.0)

    def stop() -> None:
        if run.step == 5:
            raise KeyboardInterrupt

    run.after_step = stop
    with pytest.raises(KeyboardInterrupt):
        run.run()
    assert checkpoints.load(run.checkpoint)[1]["step"] == 5
    whole = trainer(tmp_path / "whole", steps=8)
    whole.run()
    again = trainer(tmp_path, steps=8)
    again.resume()
    again.run()
    pairs = zip(again.model.parameters(), whole.model.parameters(), strict=True)
    assert all(torch.equal(left, right) for left, right in pairs)


def test_a_resumed_log_has_every_row_once(tmp_path: Path) -> None:
    """Rows after the checkpoint, one of them cut off by a kill, are written again."""
    trainer(tmp_path, steps=10).run()
    log = tmp_path / "log.csv"
    rows = log.read_text().splitlines()
    log.write_text("\n".join([*rows, rows[-1].replace("10.0", "15.0", 1), "20.0,0.0"]))
    run = trainer(tmp_path, steps=20)
    run.resume()
    run.run()
    steps = [row.split(",")[0] for row in log.read_text().splitlines()]
    assert steps == ["step", "5.0", "10.0", "15.0", "20.0"]
