"""Classifiers: every example once a pass, the one rule for penalties, the error."""

from pathlib import Path

import torch
from torch import nn
from torch.nn import functional

from laconic.training.classification import (
    ClassifierLoss,
    LabelledBatches,
    error_percent,
    pixel_by_pixel,
)
from laconic.training.loop import LoopConfig, Trainer
from laconic.training.schedules import LearningRate


def test_a_pass_shows_every_example_once_and_passes_differ() -> None:
    labels = torch.arange(12)
    batches = LabelledBatches(labels[:, None].float(), labels, 4)
    first = torch.cat([batches.batch(k)[1] for k in range(3)])
    second = torch.cat([batches.batch(k)[1] for k in range(3, 6)])
    assert sorted(first.tolist()) == sorted(second.tolist()) == list(range(12))
    assert not torch.equal(first, second)
    again = LabelledBatches(labels[:, None].float(), labels, 4).batch(4)
    assert torch.equal(again[1], batches.batch(4)[1])


def test_pictures_are_ordered_pixel_by_pixel() -> None:
    for channels in (1, 3):
        x = torch.randn(6, channels, 5, 4)
        for given in (x, x[torch.randperm(6)], x.to(memory_format=torch.channels_last), x[2:, :1]):
            ordered = pixel_by_pixel(given)
            count = given.shape[1]
            assert torch.equal(ordered, given)
            assert ordered.stride() == (20 * count, 1, 4 * count, count)
    rows = torch.randn(6, 20)
    assert pixel_by_pixel(rows) is rows


def test_the_penalty_counts_once_per_training_set_and_rises() -> None:
    net = nn.Linear(2, 3)
    x, y = torch.randn(8, 2), torch.arange(8) % 3
    loss = ClassifierLoss(net, lambda: torch.tensor(50.0), 100, warmup_steps=10, start=5)
    nll = float(functional.cross_entropy(net(x), y).detach())
    for step, weight in ((0, 0.0), (5, 0.0), (10, 0.5), (15, 1.0), (99, 1.0)):
        value, numbers = loss((x, y), step)
        assert abs(float(value.detach()) - nll - weight * 0.5) < 1e-5
        assert numbers["penalty_nats"] == 50


def test_a_classifier_learns_in_the_common_loop(tmp_path: Path) -> None:
    torch.manual_seed(0)
    x = torch.randn(400, 2)
    y = (x[:, 0] > x[:, 1]).long()
    net = nn.Linear(2, 2)
    config = LoopConfig(steps=200, precision="32-true", average_decay=0.0)
    calls = []
    trainer = Trainer(
        net, ClassifierLoss(net, None, len(x)), LabelledBatches(x, y, 50),
        LearningRate(peak=0.05, warmup_steps=1), config, tmp_path, {}, {"bias": 0.0},
        lambda: calls.append(1),
    )  # fmt: skip
    bias = net.bias.detach().clone()
    trainer.run()
    assert error_percent(net, x, y) < 4
    assert len(calls) == 200
    assert torch.equal(net.bias, bias), "a factor of 0 keeps a parameter"


def test_the_error_is_a_percentage_in_evaluation_mode() -> None:
    net = nn.Sequential(nn.Dropout(0.9), nn.Identity().eval())
    x = torch.eye(4).repeat(25, 1)
    y = torch.arange(4).repeat(25)
    y[:10] = (y[:10] + 1) % 4
    assert abs(error_percent(net, x, y, batch=7) - 10) < 1e-6
    assert [module.training for module in net] == [True, False]
