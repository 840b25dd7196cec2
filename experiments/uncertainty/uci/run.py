"""UCI regressions with matrix Gaussian posteriors and with dropout: Louizos, table 1.

    python experiments/uncertainty/uci/run.py [SET ...] [--method vmg|dropout]

All published splits of a set are trained side by side, as one stack of networks. The method's own
setting and the number of steps are chosen on data that is held out of the training parts. Every set
that is finished is written to results.json at once; sets that are there are not run again.
"""

import argparse
import json
import math
import time
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor, nn
from torch.func import functional_call, stack_module_state, vmap

import laconic
from laconic.container.storage import write_atomically
from laconic.data.datasets import data_root
from laconic.distributions.prediction import RegressionPrediction
from laconic.evaluation.report.provenance import describe_run
from laconic.weights import convert
from laconic.weights.base import WeightPosterior
from laconic.weights.precision import GammaNoise

HERE = Path(__file__).resolve().parent
RESULTS = HERE / "results.json"
FILES = {
    "boston": "bostonHousing", "yacht": "yacht", "energy": "energy", "concrete": "concrete",
    "wine": "wine-quality-red", "power-plant": "power-plant", "kin8nm": "kin8nm",
    "naval": "naval-propulsion-plant", "protein": "protein-tertiary-structure",
}  # fmt: skip
PUBLISHED = {
    "boston": {"VI": (4.32, -2.90), "PBP": (3.01, -2.57), "dropout": (2.97, -2.46)},
    "concrete": {"VI": (7.19, -3.39), "PBP": (5.67, -3.16), "dropout": (5.23, -3.04)},
    "energy": {"VI": (2.65, -2.39), "PBP": (1.80, -2.04), "dropout": (1.66, -1.99)},
    "kin8nm": {"VI": (0.10, 0.90), "PBP": (0.10, 0.90), "dropout": (0.10, 0.95)},
    "naval": {"VI": (0.01, 3.73), "PBP": (0.01, 3.73), "dropout": (0.01, 3.80)},
    "power-plant": {"VI": (4.33, -2.89), "PBP": (4.12, -2.84), "dropout": (4.02, -2.80)},
    "protein": {"VI": (4.84, -2.99), "PBP": (4.73, -2.97), "dropout": (4.36, -2.89)},
    "wine": {"VI": (0.65, -0.98), "PBP": (0.64, -0.97), "dropout": (0.62, -0.93)},
    "yacht": {"VI": (6.89, -3.43), "PBP": (1.02, -1.63), "dropout": (1.11, -1.55)},
}
"""Means of RMSE and log-likelihood of the other columns of the table."""
SOURCE = {
    "boston": (2.70, -2.46), "concrete": (4.89, -3.01), "energy": (0.54, -1.06),
    "kin8nm": (0.08, 1.10), "naval": (0.00, 2.46), "power-plant": (4.04, -2.82),
    "protein": (4.13, -2.84), "wine": (0.63, -0.95), "yacht": (0.71, -1.30),
}  # fmt: skip
"""Its column VMG."""
PSEUDO = {"yacht": 5, "protein": 20}
"""Pairs of pseudo-data; 10 elsewhere."""
HIDDEN = {"protein": 100}
"""Hidden units; 50 elsewhere."""
BATCH = 1000
"""Examples of each split in a step; all of them in smaller sets."""
SAMPLES = 100
CHOICES = {"vmg": ("largest_rate", (0.05, 0.005)), "dropout": ("rate", (0.05, 0.01, 0.005))}
"""Each method's setting that is chosen on held-out data. VMG's is the bound on the noise of
pseudo-data: the source names two without saying which set has which."""
STEPS = (2000, 6000, 20_000)
"""Numbers of steps that are tried on held-out data."""
CHOICE_SPLITS, CHOICE_STEPS, HELD_OUT = 4, 3000, 0.1
"""Splits and share of their training parts that choose; steps with which the setting is chosen."""


class Splits(NamedTuple):
    """All splits of a set; the first axis of each tensor is the split."""

    x: Tensor
    y: Tensor
    test_x: Tensor
    test_y: Tensor
    centre: Tensor
    width: Tensor

    def for_choice(self) -> "Splits":
        """A few splits, with the end of their training parts in place of the test parts."""
        kept = self.x.shape[1] - round(HELD_OUT * self.x.shape[1])
        x, y, _, _, centre, width = (part[:CHOICE_SPLITS] for part in self)
        return Splits(x[:, :kept], y[:, :kept], x[:, kept:], y[:, kept:, 0], centre, width)


class Regression(nn.Module):
    """One hidden layer, a posterior, and the noise's precision; gives nats per example."""

    def __init__(self, inputs: int, name: str, method: str, examples: int, choice: float) -> None:
        super().__init__()
        hidden, self.examples = HIDDEN.get(name, 50), examples
        self.net = nn.Sequential(nn.Linear(inputs, hidden), nn.ReLU(), nn.Linear(hidden, 1))
        self.noise = GammaNoise()
        if method == "vmg":
            settings: dict[str, Any] = {
                "pseudo": PSEUDO.get(name, 10), "largest_rate": choice, "prior_scales": True,
            }  # fmt: skip
        else:
            settings = {"rate": choice, "first_rate": choice}
        convert(self.net, method, **settings)

    def forward(self, x: Tensor, y: Tensor, centre: Tensor, width: Tensor) -> Tensor:
        """Mean negative log-likelihood + penalty / N; values and noise in the set's own units."""
        nats = self.noise.penalty()
        for module in self.net.modules():
            if isinstance(module, WeightPosterior):
                nats = nats + module.penalty()
        outputs = self.net(x) * width + centre
        return nats / self.examples - self.noise.log_likelihood(outputs, y).mean()


def load(name: str) -> Splits:
    """Inputs of all splits, normalised by each split's training part, and values, which are not.

    `centre` and `width` are the mean and the standard deviation of the training values.
    """
    with np.load(data_root() / "uci" / f"{FILES[name]}.npz") as file:
        x, y, train, test = (file[key] for key in ("X", "y", "train_idx", "test_idx"))
    rows = x[train]
    mean, scale = rows.mean(1, keepdims=True), rows.std(1, keepdims=True)
    scale[scale == 0] = 1
    values = y[train]
    centre, width = values.mean(1), values.std(1)
    parts = ((rows - mean) / scale, values[..., None], (x[test] - mean) / scale, y[test])
    return Splits(*(torch.tensor(part, dtype=torch.float32) for part in (*parts, centre, width)))


class Chosen(NamedTuple):
    """What was chosen by the log-likelihood of held-out data, and those likelihoods."""

    setting: float
    steps: int
    by_setting: dict[str, float]
    by_steps: dict[str, float]


def choose(name: str, method: str, rate: float) -> Chosen:
    """The method's setting at a fixed number of steps, then the number of steps."""
    data = load(name).for_choice()

    def likelihood(steps: int, setting: float) -> float:
        row = run(name, data, method, steps, rate, setting)
        return float(row["log_likelihood_nats"]["mean"])

    settings = {each: likelihood(CHOICE_STEPS, each) for each in CHOICES[method][1]}
    setting = max(settings, key=lambda each: settings[each])
    numbers = {each: likelihood(each, setting) for each in STEPS}
    steps = max(numbers, key=lambda each: numbers[each])
    by_setting = {f"{each:g}": found for each, found in settings.items()}
    return Chosen(setting, steps, by_setting, {str(k): found for k, found in numbers.items()})


def run(
    name: str, data: Splits, method: str, steps: int, rate: float, choice: float
) -> dict[str, Any]:
    """Train all splits of a set, and measure them."""
    began = time.monotonic()
    x, y, test_x, test_y, centre, width = data
    torch.manual_seed(0)
    nets = [Regression(x.shape[-1], name, method, x.shape[1], choice) for _ in x]
    parameters, _ = stack_module_state(nets)  # type: ignore[arg-type]
    each = vmap(lambda p, *data: functional_call(nets[0], (p, {}), data), randomness="different")
    optimizer = torch.optim.Adam(list(parameters.values()), rate)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, steps)
    generator = torch.Generator().manual_seed(0)
    limits = [m for m in nets[0].modules() if isinstance(m, WeightPosterior)]
    for step in range(steps):
        part_x, part_y = x, y
        if x.shape[1] > BATCH:
            chosen = torch.randint(x.shape[1], (BATCH,), generator=generator)
            part_x, part_y = x[:, chosen], y[:, chosen]
        optimizer.zero_grad()
        loss = each(parameters, part_x, part_y, centre, width)
        loss.sum().backward()
        optimizer.step()
        schedule.step()
        constrain(parameters, limits)
        if step % 250 == 0:
            print(f"{name} {method} step {step}: {loss.detach().mean():.3f} nats", flush=True)
    found = measure(nets, parameters, test_x, test_y, centre, width)
    return {
        **found,
        "splits": len(x),
        "steps": steps,
        "rate": rate,
        "training_nats": float(loss.detach().mean()),
        "wall_seconds": round(time.monotonic() - began, 1),
    }


def measured(name: str, method: str, rate: float) -> dict[str, Any]:
    """One method on one set, its setting and steps chosen first."""
    chosen = choose(name, method, rate)
    return {
        **run(name, load(name), method, chosen.steps, rate, chosen.setting),
        "setting": CHOICES[method][0],
        "chosen": chosen.setting,
        "held_out_log_likelihood_nats": {
            "by_setting": chosen.by_setting,
            "by_steps": chosen.by_steps,
        },
    }


@torch.no_grad()
def constrain(parameters: dict[str, Tensor], posteriors: list[WeightPosterior]) -> None:
    """Keep the noise of pseudo-data within its bounds, in all networks of the stack."""
    bounds = [one.pseudo.largest for one in posteriors if getattr(one, "pseudo", None) is not None]
    for key, value in parameters.items():
        if key.endswith("log_alpha"):
            value.clamp_(-10, bounds[0])


@torch.no_grad()
def measure(
    nets: list[Regression], parameters: dict[str, Tensor], x: Tensor, y: Tensor, centre: Tensor,
    width: Tensor,
) -> dict[str, Any]:  # fmt: skip
    """RMSE, log-likelihood and coverage of 95 % intervals of every split, in the set's units."""
    rows = []
    for split, net in enumerate(nets):
        net.load_state_dict({key: value[split] for key, value in parameters.items()})
        net.eval()
        drawn = laconic.predict(net.net, x[split], samples=SAMPLES, noise=1.0)
        assert isinstance(drawn, RegressionPrediction)
        variances = net.noise.draw_variances(SAMPLES).view(-1, 1, 1)
        found = RegressionPrediction(drawn.means * width[split] + centre[split], variances)
        truth = y[split].unsqueeze(-1)
        low, high = found.interval(0.95)
        rows.append(
            (
                float((found.mean - truth).square().mean().sqrt()),
                float(found.log_likelihood(truth).mean()),
                float(((truth >= low) & (truth <= high)).float().mean()),
            )
        )
    table = np.array(rows)
    keys = ("rmse", "log_likelihood_nats", "coverage_95")
    means, errors = table.mean(0), table.std(0, ddof=1) / math.sqrt(len(table))
    return {
        key: {"mean": float(m), "standard_error": float(e), "of_splits": table[:, i].tolist()}
        for i, (key, m, e) in enumerate(zip(keys, means, errors, strict=True))
    }


def targets(sets: dict[str, Any]) -> list[dict[str, Any]]:
    """The rows of docs/results.md: as good as the source within one standard error, or better."""
    rows = []
    for name, methods in sets.items():
        if "vmg" not in methods:
            continue
        rmse, likelihood = methods["vmg"]["rmse"], methods["vmg"]["log_likelihood_nats"]
        wanted = SOURCE[name]
        met = (
            rmse["mean"] - rmse["standard_error"] <= wanted[0] + 0.005
            and likelihood["mean"] + likelihood["standard_error"] >= wanted[1] - 0.005
        )
        rows.append(
            {
                "name": f"uci: {name}, VMG: RMSE and log-likelihood (nats)",
                "target": f"{wanted[0]:.2f} and {wanted[1]:.2f} within one standard error",
                "ours": f"{rmse['mean']:.2f} ± {rmse['standard_error']:.2f} and "
                f"{likelihood['mean']:.2f} ± {likelihood['standard_error']:.2f}",
                "met": bool(met),
            }
        )
    return rows


def read_sets() -> dict[str, Any]:
    """The sets in results.json: by name and method."""
    found: dict[str, Any] = json.loads(RESULTS.read_text())["sets"] if RESULTS.exists() else {}
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("sets", nargs="*", default=list(FILES), metavar="SET")
    parser.add_argument("--method", choices=("vmg", "dropout"), action="append")
    parser.add_argument("--rate", type=float, default=0.01)
    given = parser.parse_args()
    began = time.time()
    for name in given.sets:
        if name not in FILES:
            parser.error(f"{name!r} is not one of {', '.join(FILES)}")
        for method in given.method or ("vmg", "dropout"):
            if method in read_sets().get(name, {}):
                continue
            found = measured(name, method, given.rate)
            known = read_sets()  # another process may have finished a set meanwhile
            known.setdefault(name, {})[method] = found
            command = "python experiments/uncertainty/uci/run.py"
            document = {
                "title": "UCI regressions with matrix Gaussian posteriors (Louizos, table 1)",
                "run": describe_run(command, began, HERE.parents[2], seeds=[0]),
                "targets": targets(known),
                "published": {key: PUBLISHED[key] for key in known},
                "sets": known,
            }
            write_atomically(RESULTS, (json.dumps(document, indent=1) + "\n").encode())


if __name__ == "__main__":
    main()
