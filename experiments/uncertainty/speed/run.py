"""Prediction with many draws: `laconic.predict` beside a loop over passes.

    python experiments/uncertainty/speed/run.py [--images N] [--samples N] [--library FOLDER]

Ratios of processor time, taken in turns in one run, on one thread. The loop draws all weights anew
for every batch, as the layers of bayesian-torch do; with --library these very layers run, too.
"""

import argparse
import json
import statistics
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.func import functional_call
from torch.nn import functional

import laconic
from laconic.container.storage import write_atomically
from laconic.evaluation.report.provenance import describe_run
from laconic.networks.lenet import lenet_5_caffe
from laconic.training.classification import pixel_by_pixel
from laconic.weights import convert

HERE = Path(__file__).resolve().parent
BATCH = 100


def seconds(call: Callable[[], object]) -> float:
    """Processor time of a call."""
    began = time.process_time()
    call()
    return time.process_time() - began


def loop(net: nn.Module, parts: tuple[Tensor, ...], samples: int) -> Tensor:
    """Draws of every weight for every batch, by torch's own layers."""
    means = {name: p.detach() for name, p in net.named_parameters()}
    rhos = {name: torch.full_like(p, -5.0) for name, p in means.items()}

    def draw(name: str) -> Tensor:
        noise = torch.empty_like(means[name]).normal_()
        return means[name] + torch.log1p(torch.exp(rhos[name])) * noise

    return torch.stack(
        [
            torch.cat([functional_call(net, {n: draw(n) for n in means}, (x,)) for x in parts])
            for _ in range(samples)
        ]
    )


def library_net() -> nn.Module:
    """LeNet with the layers of bayesian-torch."""
    from bayesian_torch.models.dnn_to_bnn import dnn_to_bnn

    net = lenet_5_caffe()
    prior = {
        "prior_mu": 0.0, "prior_sigma": 1.0, "posterior_mu_init": 0.0, "posterior_rho_init": -5.0,
        "type": "Reparameterization", "moped_enable": False, "moped_delta": 0.5,
    }  # fmt: skip
    dnn_to_bnn(net, prior)
    return net


def library_loop(parts: tuple[Tensor, ...], samples: int) -> Callable[[], Tensor]:
    """The loop with the layers of bayesian-torch."""
    net = library_net().eval()
    return lambda: torch.stack([torch.cat([net(x) for x in parts]) for _ in range(samples)])


def training_step(
    net: nn.Module, penalty: Callable[[], Tensor], x: Tensor, y: Tensor
) -> Callable[[], None]:
    """A step of Adam."""
    optimizer = torch.optim.Adam(net.parameters(), 1e-3)

    def step() -> None:
        loss = functional.cross_entropy(net(x), y) + penalty() / 60_000
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()

    return step


def repeated(step: Callable[[], None], count: int = 3) -> float:
    """Processor time of some steps."""
    return seconds(lambda: [step() for _ in range(count)])


def measure_training(x: Tensor, rounds: int, library: bool) -> list[dict[str, float]]:
    """Seconds of training steps with fully factorised Gaussians: ours, and the library's."""
    y = torch.arange(len(x)) % 10
    net = lenet_5_caffe().to(memory_format=torch.channels_last)
    steps = {"mean-field": training_step(net, convert(net, "mean-field"), pixel_by_pixel(x), y)}
    if library:
        from bayesian_torch.models.dnn_to_bnn import get_kl_loss

        other = library_net()
        steps["bayesian-torch"] = training_step(other, lambda: get_kl_loss(other), x, y)
    for step in steps.values():
        step()
    return [{name: repeated(step) for name, step in steps.items()} for _ in range(rounds)]


def targets(
    rows: list[dict[str, float]], trained: list[dict[str, float]], what: str
) -> list[dict[str, Any]]:
    """Ratios beside what they must reach."""
    found = []
    for name in rows[0]:
        if name != "laconic.predict":
            ratio = statistics.median(row[name] / row["laconic.predict"] for row in rows)
            found.append(
                {
                    "name": f"speed: LeNet, {what}: {name} over laconic.predict, processor time",
                    "target": "at least 2 times",
                    "ours": round(ratio, 2),
                    "met": ratio >= 2,
                }
            )
    if "bayesian-torch" in trained[0]:
        slower = statistics.median(row["mean-field"] / row["bayesian-torch"] for row in trained)
        found.append(
            {
                "name": "speed: LeNet, training step: mean-field over bayesian-torch",
                "target": "at most 1.3 times",
                "ours": round(slower, 2),
                "met": slower <= 1.3,
            }
        )
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--images", type=int, default=500)
    parser.add_argument("--samples", type=int, default=20)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--library", type=Path, help="folder that has bayesian_torch")
    given = parser.parse_args()
    began = time.time()
    torch.set_num_threads(1)
    torch.manual_seed(0)
    x = torch.rand(given.images, 1, 28, 28)
    ordinary, converted = lenet_5_caffe().eval(), lenet_5_caffe()
    convert(converted, "mean-field")
    parts = x.split(BATCH)
    ways: dict[str, Callable[[], object]] = {
        "laconic.predict": lambda: laconic.predict(converted, x, samples=given.samples),
        "loop": lambda: loop(ordinary, parts, given.samples),
    }
    if given.library:
        sys.path.insert(0, str(given.library))
        ways["bayesian-torch"] = library_loop(parts, given.samples)
    with torch.no_grad():
        laconic.predict(converted, x[:BATCH], samples=2)
        rows = [{name: seconds(way) for name, way in ways.items()} for _ in range(given.rounds)]
    trained = measure_training(x[:BATCH], given.rounds, bool(given.library))
    command = f"python experiments/uncertainty/speed/run.py --images {given.images}"
    document = {
        "title": "Speed of predictions with many draws",
        "run": describe_run(f"{command} --samples {given.samples}", began, HERE.parents[2]),
        "targets": targets(rows, trained, f"{given.samples} draws, {given.images} images"),
        "images": given.images,
        "samples": given.samples,
        "batch": BATCH,
        "prediction_seconds": rows,
        "training_seconds": trained,
    }
    write_atomically(HERE / "results.json", (json.dumps(document, indent=1) + "\n").encode())
    print(json.dumps(document["targets"], indent=1))


if __name__ == "__main__":
    main()
