"""Gradients through a binary channel: relaxed bits against the score function.

    python experiments/channels/gradients/run.py

A picture of the Frey faces is sent as 16 bits over a binary symmetric channel (flips of 5 %) to a
fixed linear decoder. The gradient of the expected squared error by the bits' logits is estimated
from one draw at a time: by relaxed bits at several temperatures, and by the score function without
and with the mean cost of other draws as its baseline. The exact gradient is that of hard bits.
"""

import json
import time
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from laconic.channels.binary import BinarySymmetric, FlipConfig
from laconic.channels.bits import relaxed_bits, scored_bits
from laconic.data.datasets import data_root
from laconic.evaluation.report.figures import COLOURS, save_figure
from laconic.evaluation.report.provenance import describe_run
from laconic.lab.datasets import DataConfig, read_small

HERE = Path(__file__).resolve().parent
BITS, FLIP, DRAWS = 16, 0.05, 2000
TEMPERATURES = (0.1, 0.2, 0.35, 0.5, 0.7, 1.0)


def problem() -> tuple[Tensor, Tensor, Tensor]:
    """Logits, decoder's matrix `(bits, pixels)` and its picture, all fixed."""
    torch.manual_seed(0)
    faces = read_small(DataConfig(kind="faces", folder="freyfaces", split="train"))
    flat = faces.flatten(1)
    _, _, directions = torch.linalg.svd(flat - flat.mean(0), full_matrices=False)
    spread = ((flat - flat.mean(0)) @ directions[:BITS].T).std(0)
    decoder = directions[:BITS] * 2 * spread[:, None]
    target = flat[100] - flat.mean(0) + decoder.sum(0) / 2
    return 0.5 * torch.randn(BITS), decoder, target


def cost(bits: Tensor, decoder: Tensor, target: Tensor) -> Tensor:
    """Squared error of every row of bits."""
    return (bits @ decoder - target).square().sum(-1)


def exact_gradient(logits: Tensor, decoder: Tensor, target: Tensor) -> Tensor:
    """In closed form: a received bit is 1 with probability q = p (1 - f) + (1 - p) f.

    The bits are independent, so that the expected square needs their means and variances alone.
    """
    logits = logits.clone().requires_grad_()
    p = torch.sigmoid(logits)
    q = p * (1 - FLIP) + (1 - p) * FLIP
    mean = (q @ decoder - target).square().sum()
    spread = (q * (1 - q) * decoder.square().sum(1)).sum()
    return torch.autograd.grad(mean + spread, logits)[0]


def relaxed(logits: Tensor, decoder: Tensor, target: Tensor, temperature: float) -> Tensor:
    """Gradients of single draws, `(DRAWS, BITS)`."""
    channel = BinarySymmetric(FlipConfig(FLIP, temperature)).train()
    many = logits.expand(DRAWS, -1).clone().requires_grad_()
    received = channel(relaxed_bits(many, temperature))
    return torch.autograd.grad(cost(received, decoder, target).sum(), many)[0]


def scored(logits: Tensor, decoder: Tensor, target: Tensor, others: int) -> Tensor:
    """Gradients of single draws; the mean cost of `others` further draws is taken off, if any."""
    channel = BinarySymmetric(FlipConfig(FLIP)).eval()
    many = logits.expand(DRAWS, -1).clone().requires_grad_()
    bits, log_p = scored_bits(many)
    value = cost(channel(bits), decoder, target)
    if others:
        more = scored_bits(logits.expand(DRAWS * others, -1))[0]
        value = value - cost(channel(more), decoder, target).reshape(DRAWS, others).mean(1)
    return torch.autograd.grad((value.detach() * log_p).sum(), many)[0]


def row(name: str, gradients: Tensor, exact: Tensor) -> dict[str, float | str]:
    """Variance and bias over the squared norm of the exact gradient."""
    size = float(exact.square().sum())
    variance = float(gradients.var(0).sum()) / size
    bias = float((gradients.mean(0) - exact).square().sum()) / size
    noise = float(gradients.var(0).sum()) / len(gradients) / size
    return {
        "estimator": name,
        "variance": variance,
        "squared_bias": max(0.0, bias - noise),
    }


def main() -> None:
    """Measure, write results.json and the figure."""
    started = time.time()
    torch.set_num_threads(1)
    logits, decoder, target = problem()
    exact = exact_gradient(logits, decoder, target)
    rows = [
        row(f"relaxed, T = {t:g}", relaxed(logits, decoder, target, t), exact) for t in TEMPERATURES
    ]
    rows += [
        row("score function", scored(logits, decoder, target, 0), exact),
        row("score function, mean of 4 others off", scored(logits, decoder, target, 4), exact),
    ]
    best = min(float(one["variance"]) for one in rows if str(one["estimator"]).startswith("rel"))
    plain = float(rows[-2]["variance"])
    target_row = {
        "name": "variance of the score function over that of the best relaxed bits",
        "target": "one figure",
        "ours": round(plain / best, 1),
        "met": True,
    }
    command = "python experiments/channels/gradients/run.py"
    results = {
        "title": "Channels: gradients through a binary channel",
        "run": describe_run(command, started, HERE.parents[2], seeds=[0], draws=DRAWS),
        "targets": [target_row],
        "rows": rows,
    }
    (HERE / "results.json").write_text(json.dumps(results, indent=1) + "\n")
    save_figure(draw(rows), HERE / "variance")
    print(json.dumps(rows, indent=1), data_root().name)


def draw(rows: list[dict[str, float | str]]):  # noqa: ANN201 (matplotlib is imported late)
    """Variance and squared bias of every estimator, as bars on a logarithmic axis."""
    from matplotlib.figure import Figure

    sheet = Figure(figsize=(7.2, 4.2), layout="constrained")
    axes = sheet.add_subplot()
    places = np.arange(len(rows))
    for index, key in enumerate(("variance", "squared_bias")):
        values = [max(float(one[key]), 1e-5) for one in rows]
        axes.barh(
            places + 0.4 * index, values, 0.38, color=COLOURS[index], label=key.replace("_", " ")
        )
    axes.set_yticks(places + 0.2, [str(one["estimator"]) for one in rows])
    axes.set_xscale("log")
    axes.invert_yaxis()
    axes.set_xlabel("over the squared norm of the exact gradient")
    axes.legend(frameon=False)
    return sheet


if __name__ == "__main__":
    main()
