"""Without quantisation against quantisation: one architecture, real files on Kodak 1-16.

    python experiments/quantization/run.py train     # both noises, from scratch; resumable
    python experiments/quantization/run.py measure   # results.json and the figure

The sliced ladder is trained twice on the same patches for the same iterations: with Gaussian
posteriors, coded by the default relative entropy coder, and with uniform noise (`uniform.py`),
coded with a shared dither or by rounding. The Gaussian files are portable and name their own costs;
the others choose tables by floats.
"""

import argparse
import sys
import time
from collections.abc import Sequence
from pathlib import Path

import torch
from torch import Tensor
from torch.distributions import Distribution

sys.path.insert(0, str(Path(__file__).resolve().parent))
import uniform

from laconic.codecs.image.codec import ImageCodec
from laconic.data.datasets import data_root
from laconic.evaluation.anchors.classical import Codec
from laconic.evaluation.images.ours import OurCodec
from laconic.evaluation.images.rate_distortion import rate_distortion
from laconic.evaluation.images.record import record
from laconic.evaluation.report.provenance import describe_run
from laconic.lab.recipes import read_recipe
from laconic.lab.recipes.latent import trained_model
from laconic.lab.runs import make_trainer
from laconic.models.base import Condition, Context
from laconic.models.sliced.ladder import SlicedLadder
from laconic.training.config import read_config
from laconic.training.objectives.beta_range import LadderLoss

HERE = Path(__file__).resolve().parent
RUNS = HERE.parents[1] / "runs" / "quantization"
NOISES = ("gaussian", "uniform")
QUALITIES_MEASURED = (5, 20, 35, 50, 65, 80)


def train(noise: str) -> None:
    """Train one ladder, or go on where its checkpoint stopped."""
    folder = RUNS / noise
    config = read_config(HERE / "config.yaml", [f"folder={folder}"])
    trainer = make_trainer(read_recipe(config), (folder / "checkpoint.safetensors").exists())
    if noise == "uniform":
        model = trainer.model

        def draw_rungs(
            x: Tensor, log_beta: Tensor
        ) -> tuple[Sequence[uniform.UniformRung], Distribution]:
            assert isinstance(model, SlicedLadder)
            context = Context(x.shape[2:], Condition(log_beta))
            rungs = uniform.draw_rungs(model, x, context)
            return rungs, model.likelihood([rung.latent for rung in rungs], context)

        trainer.loss = LadderLoss(
            draw_rungs, uniform.UniformElbo(), model.beta_range, trainer.config
        )
    trainer.run(
        lambda step, row: print(noise, {k: round(v, 4) for k, v in row.items()}, flush=True)
    )


def measure(kodak: Path) -> None:
    """Rate-distortion of real files, BD-rates against rounding, the figure."""
    started = time.time()
    (gaussian, steps), (noisy, other_steps) = (trained_model(RUNS / name) for name in NOISES)
    assert steps == other_steps, "the two ladders have seen different numbers of iterations"
    assert isinstance(gaussian, SlicedLadder)
    assert isinstance(noisy, SlicedLadder)
    codecs: list[Codec] = [
        OurCodec(
            ImageCodec(gaussian, "gaussian", b"quantization"), "rec", "Relative entropy coding"
        ),
        uniform.UniformCodec(noisy, dithered=True),
        uniform.UniformCodec(noisy, dithered=False),
    ]
    study = rate_distortion([(codec, QUALITIES_MEASURED) for codec in codecs], kodak)
    run = describe_run(
        "python experiments/quantization/run.py", started, HERE.parents[1],
        threads=torch.get_num_threads(), iterations=steps,
    )  # fmt: skip
    caption = f"after {steps:,} iterations, Kodak 1-16"
    record(HERE, "Without quantisation against quantisation", run, study, "rounded", caption)


def main() -> None:
    """Train or measure."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("step", choices=("train", "measure"))
    parser.add_argument("--noise", choices=NOISES, help="train this one only")
    parser.add_argument("--data", type=Path, default=data_root())
    parser.add_argument("--threads", type=int, default=2)
    arguments = parser.parse_args()
    torch.set_num_threads(arguments.threads)
    if arguments.step == "measure":
        measure(arguments.data / "kodak")
        return
    for noise in [arguments.noise] if arguments.noise else NOISES:
        train(noise)


if __name__ == "__main__":
    main()
