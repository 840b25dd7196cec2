"""Figures of pruning: histograms that count every group, operations that fall."""

from pathlib import Path

import torch
from torch import nn

from laconic.evaluation.networks.pruning import (
    OperationsLog,
    clusters,
    draw_clusters,
    draw_operations,
    read_operations,
)
from laconic.evaluation.report.figures import render_svg
from laconic.weights import convert
from laconic.weights.layers import ProbabilisticLayer
from laconic.weights.methods.group_scales import GroupPosterior
from laconic.weights.methods.l0 import L0Posterior


def net() -> nn.Sequential:
    torch.manual_seed(0)
    return nn.Sequential(nn.Linear(6, 4), nn.ReLU(), nn.Linear(4, 3))


def test_every_group_is_in_a_cluster_and_pruned_ones_are_marked() -> None:
    task = net()
    convert(task, "bc-gnj")
    posterior = task.get_submodule("0.posterior")
    assert isinstance(posterior, GroupPosterior)
    with torch.no_grad():
        posterior.get_parameter("scale_log_variance")[:2] = 6.0
    shown = clusters(task)
    assert list(shown) == ["0", "2"]
    assert (sum(shown["0"]["kept"]), sum(shown["0"]["pruned"])) == (4, 2)
    assert sum(shown["2"]["kept"]) == 4
    first, last = shown["0"]["ends"]
    assert first < shown["0"]["threshold"] < last
    assert render_svg(draw_clusters(shown, "two clusters")).count(b"kept") >= 2
    ordinary = net()
    convert(ordinary, "sparse-vd")
    assert clusters(ordinary) == {}


def test_operations_are_written_down_and_taken_back_with_a_checkpoint(tmp_path: Path) -> None:
    task = net()
    convert(task, "l0", dropout=0.5, input_dropout=0.5)
    log = OperationsLog(task, torch.rand(1, 6), tmp_path, 0)
    for step, gates in ((10, 0.0), (20, -3.0)):
        for module in task.modules():
            if isinstance(module, ProbabilisticLayer):
                assert isinstance(module.posterior, L0Posterior)
                nn.init.constant_(module.posterior.get_parameter("log_alpha"), gates)
        log.write(step)
    rows = read_operations(tmp_path)
    assert [row[0] for row in rows] == [0, 10, 20]
    assert rows[0][1] > 0
    assert rows[2][1] < 0.5 * rows[1][1]
    assert b"operations" in render_svg(draw_operations({"mine": rows}, "fewer"))
    OperationsLog(task, torch.rand(1, 6), tmp_path, 10)
    assert [row[0] for row in read_operations(tmp_path)] == [0, 10]
    OperationsLog(task, torch.rand(1, 6), tmp_path, 0)
    assert [row[0] for row in read_operations(tmp_path)] == [0]


def test_nothing_is_read_where_nothing_was_watched(tmp_path: Path) -> None:
    assert read_operations(tmp_path) == []
