"""Four posteriors on twenty points of a cubic: Louizos, figures 5 and 11.

    python experiments/uncertainty/bands/run.py      # results.json, bands.svg, bands.png

It also writes the figure of docs/uncertainty.md.

Inputs from U[-4, 4], values x³ + N(0, 9), the noise known; one hidden layer of 100 units.
"""

import json
import time
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

import laconic
from laconic.container.storage import write_atomically
from laconic.distributions.prediction import RegressionPrediction
from laconic.evaluation.report.figures import COLOURS, save_figure
from laconic.evaluation.report.provenance import describe_run
from laconic.weights import convert

HERE = Path(__file__).resolve().parent
METHODS: dict[str, dict[str, Any]] = {
    "mean-field": {},
    "dropout": {"rate": 0.2},
    "vmg": {"pseudo": 4, "largest_rate": 0.2},
    "mnf": {},
}
STEPS, RATE, SAMPLES = 1000, 0.01, 200
INSIDE, OUTSIDE = 3.0, 5.5
"""Places whose uncertainty is compared: among the points, and beyond all of them."""


def points() -> tuple[Tensor, Tensor]:
    """The training set, `(20, 1)` each."""
    generator = torch.Generator().manual_seed(0)
    x = 8 * torch.rand(20, 1, generator=generator) - 4
    return x, x**3 + 3 * torch.randn(20, 1, generator=generator)


def train(method: str, x: Tensor, y: Tensor, noise: float) -> nn.Module:
    """A converted network, trained on scaled inputs and values."""
    torch.manual_seed(0)
    net = nn.Sequential(nn.Linear(1, 100), nn.ReLU(), nn.Linear(100, 1))
    penalty = convert(net, method, **METHODS[method])
    optimizer = torch.optim.Adam(net.parameters(), RATE)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, STEPS)
    for _ in range(STEPS):
        error = (net(x) - y).square().mean() / (2 * noise**2)
        optimizer.zero_grad()
        (error + penalty() / len(x)).backward()
        optimizer.step()
        schedule.step()
        penalty.constrain()
    return net.eval()


def main() -> None:
    from matplotlib.figure import Figure

    began = time.time()
    x, y = points()
    scales = x.std(), y.std()
    noise = float(3 / scales[1])
    grid = torch.linspace(-6, 6, 241).unsqueeze(1)
    sheet = Figure(figsize=(9.6, 2.9), layout="constrained")
    rows = {}
    for index, method in enumerate(METHODS):
        net = train(method, x / scales[0], y / scales[1], noise)
        found = laconic.predict(net, grid / scales[0], SAMPLES, noise=noise, seed=0)
        assert isinstance(found, RegressionPrediction)
        mean, band = found.mean * scales[1], 3 * found.variance.sqrt() * scales[1]
        epistemic = (found.epistemic.sqrt() * scales[1]).squeeze(1)
        at = {place: int((grid.squeeze(1) - place).abs().argmin()) for place in (INSIDE, OUTSIDE)}
        near = grid.abs().squeeze(1) <= 4
        rows[method] = {
            "rmse_inside": float((mean - grid**3)[near].square().mean().sqrt()),
            "epistemic_sd_inside": float(epistemic[at[INSIDE]]),
            "epistemic_sd_outside": float(epistemic[at[OUTSIDE]]),
        }
        print(method, rows[method], flush=True)
        axes = sheet.add_subplot(1, len(METHODS), index + 1)
        line = grid.squeeze(1).tolist()
        low, high = ((mean + sign * band).squeeze(1).tolist() for sign in (-1, 1))
        axes.fill_between(line, low, high, color=COLOURS[index], alpha=0.25)
        axes.plot(line, mean.squeeze(1).tolist(), color=COLOURS[index])
        axes.plot(line, (grid**3).squeeze(1).tolist(), "--", color="#888888", linewidth=1)
        axes.plot(x.squeeze(1).tolist(), y.squeeze(1).tolist(), "k.", markersize=4)
        axes.set_title(method)
        axes.set_ylim(-150, 150)
    save_figure(sheet, HERE / "bands")
    command = "python experiments/uncertainty/bands/run.py"
    document = {
        "title": "Posteriors of weights on twenty points of a cubic (Louizos, figures 5 and 11)",
        "run": describe_run(command, began, HERE.parents[2], seeds=[0]),
        "targets": [
            {
                "name": f"bands: {method}: epistemic deviation at {OUTSIDE} over that at {INSIDE}",
                "target": "above 1",
                "ours": round(row["epistemic_sd_outside"] / row["epistemic_sd_inside"], 2),
                "met": row["epistemic_sd_outside"] > row["epistemic_sd_inside"],
            }
            for method, row in rows.items()
        ],
        "methods": rows,
    }
    write_atomically(HERE / "results.json", (json.dumps(document, indent=1) + "\n").encode())


if __name__ == "__main__":
    main()
