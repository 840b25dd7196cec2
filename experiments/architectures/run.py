"""One data set, one number of iterations, four architectures: real files on Kodak 1-16.

    python experiments/architectures/run.py train [--architecture pln]   # resumable
    python experiments/architectures/run.py measure                      # results.json, the figures

The source's one-level VAE, its PLN and its gamma-PLN, each with networks steered by log beta, and
the sliced ladder that the embedded model is.
"""

import argparse
import sys
import time
from pathlib import Path

import torch

from laconic.codecs.image.codec import ImageCodec
from laconic.data.datasets import data_root
from laconic.evaluation.images.ours import OurCodec
from laconic.evaluation.images.rate_distortion import rate_distortion
from laconic.evaluation.images.record import record
from laconic.evaluation.report.provenance import describe_run
from laconic.lab.recipes import read_recipe
from laconic.lab.recipes.latent import trained_model
from laconic.lab.runs import complete
from laconic.models.base import NormalLadder
from laconic.training.config import read_config
from laconic.training.loop import CHECKPOINT

HERE = Path(__file__).resolve().parent
RUNS = Path("runs/architectures")
TITLES = {
    "vae": "VAE",
    "pln": "PLN",
    "gamma-pln": "gamma-PLN",
    "sliced": "Sliced ladder",
}
QUALITIES_MEASURED = (1, 20, 40, 60, 80, 100)


def train(architecture: str) -> None:
    """Train one, or go on where its checkpoint stopped."""

    def say(step: int, row: dict[str, float]) -> None:
        print(architecture, {key: round(value, 4) for key, value in row.items()}, flush=True)

    complete(read_recipe(read_config(HERE / f"{architecture}.yaml")), say=say)


def trained(architecture: str) -> tuple[OurCodec, int, int]:
    """The codec of the averaged weights, their iterations and their number."""
    model, steps = trained_model(RUNS / architecture)
    assert isinstance(model, NormalLadder)
    codec = ImageCodec(model, architecture, b"architectures")
    numbers = sum(parameter.numel() for parameter in model.parameters())
    return OurCodec(codec, architecture, TITLES[architecture]), steps, numbers


def measure(kodak: Path) -> None:
    """Rate-distortion of real files, BD-rates against the PLN, the figures."""
    started = time.time()
    found = {name: trained(name) for name in TITLES if (RUNS / name / CHECKPOINT).exists()}
    steps = {name: step for name, (_, step, _) in found.items()}
    if len(set(steps.values())) != 1 or "pln" not in steps:
        sys.exit(f"train all for the same iterations first, the PLN among them; there are: {steps}")
    study = rate_distortion([(codec, QUALITIES_MEASURED) for codec, _, _ in found.values()], kodak)
    run = describe_run(
        "python experiments/architectures/run.py", started, HERE.parents[1],
        threads=torch.get_num_threads(), iterations=steps["pln"],
        parameters={name: numbers for name, (_, _, numbers) in found.items()},
    )  # fmt: skip
    caption = f"after {steps['pln']:,} iterations, Kodak 1-16"
    record(HERE, "Four architectures after equal training", run, study, "pln", caption)


def main() -> None:
    """Train or measure."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("step", choices=("train", "measure"))
    parser.add_argument("--architecture", choices=tuple(TITLES), help="train this one only")
    parser.add_argument("--data", type=Path, default=data_root())
    parser.add_argument("--threads", type=int, default=2)
    arguments = parser.parse_args()
    torch.set_num_threads(arguments.threads)
    if arguments.step == "measure":
        measure(arguments.data / "kodak")
        return
    for architecture in [arguments.architecture] if arguments.architecture else TITLES:
        train(architecture)


if __name__ == "__main__":
    main()
