"""How tight the bounds are, what the encoder loses, whose gradients are quiet, and a real archive.

    python experiments/rd/inference.py runs/rd/mnist

Takes the sweep's models at beta 1: importance weighting and annealed importance sampling bound
-log p(x) on the same test images, each image's posterior is refined, and the gradient of the
encoder by reparametrisation is put beside REINFORCE's; all test images become one .lac archive of
the integer form of family ---, read back and compared. Writes inference/results.json.
"""

import argparse
import json
import math
import time
from dataclasses import asdict
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from laconic.codecs.lossless.codec import Core, LosslessCodec
from laconic.codecs.lossless.file import make_coder
from laconic.evaluation.images.lossless import measure_set
from laconic.evaluation.images.results import finite
from laconic.evaluation.models.measures import MeasureConfig, measure_model
from laconic.evaluation.report.provenance import describe_run
from laconic.lab.datasets import DataConfig, read_small
from laconic.lab.recipes.latent import trained_model
from laconic.models.base import Condition, Context
from laconic.models.families.family import Family
from laconic.training.config import build
from laconic.training.gradients import gradient_comparison
from laconic.training.objectives.choice import choose

HERE = Path(__file__).resolve().parent
BETA = 1.0
GRADIENT_FAMILY = "---"
ARCHIVE_PERCENT = 1.0
GRADIENT_DRAWS, GRADIENT_IMAGES = 200, 32
REINFORCE_DRAWS = 4
SETTINGS = MeasureConfig(
    train_images=0,
    iwae_draws=500,
    iwae_images=32,
    ais_steps=60,
    ais_chains=4,
    ais_leapfrogs=2,
    ais_images=32,
    refine_steps=200,
    refine_images=32,
    information_images=0,
    generated=0,
)
ESTIMATORS: dict[str, dict[str, Any]] = {
    "reparametrised": {"name": "rate-distortion", "beta": BETA},
    "reinforce, leave one out": {
        "name": "reinforce",
        "beta": BETA,
        "draws": REINFORCE_DRAWS,
        "baseline": "leave-one-out",
    },
    "reinforce, no baseline": {
        "name": "reinforce",
        "beta": BETA,
        "draws": REINFORCE_DRAWS,
        "baseline": "none",
    },
}


def main() -> None:
    """Every model of the sweep at beta 1."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("sweep", type=Path)
    sweep = parser.parse_args().sweep
    started = time.time()
    rows, gradients, archives = [], {}, []
    for result in sorted(sweep.rglob("result.json")):
        found = json.loads(result.read_text(encoding="utf-8"))
        if found["objective"].get("beta") != BETA:
            continue
        model, test = trained(result, found)
        measures = measure_model(model, test, SETTINGS)
        rows.append({"name": found["name"], "family": found["family"], "measures": measures})
        print(found["name"], {k: round(v["value"], 2) for k, v in measures.items()}, flush=True)
        if found["family"] == GRADIENT_FAMILY and not gradients:
            gradients = compare(model, test)
            archives = [archive(model, test, measures["negative_elbo_nats"]["value"])]
    document = {
        "title": "Bounds, amortisation and gradients at beta 1",
        "run": describe_run(
            f"python experiments/rd/inference.py {sweep}", started, HERE.parents[1], seeds=[0]
        ),
        "targets": [
            {
                "name": f"plane: .lac archive of {GRADIENT_FAMILY} over the negative ELBO, %",
                "target": f"at most {ARCHIVE_PERCENT:g}",
                "ours": one["over_negative_elbo_percent"],
                "met": one["over_negative_elbo_percent"] <= ARCHIVE_PERCENT,
            }
            for one in archives
        ],
        "models": rows,
        "archives": archives,
        "gradients": {
            "family": GRADIENT_FAMILY,
            "parameters": "the encoder's read-out to means",
            "images": GRADIENT_IMAGES,
            "estimators": gradients,
        },
    }
    (HERE / "inference").mkdir(exist_ok=True)
    path = HERE / "inference" / "results.json"
    path.write_text(json.dumps(finite(document), indent=1) + "\n", encoding="utf-8")


def trained(result: Path, found: dict[str, Any]) -> tuple[Family, Tensor]:
    """A run's averaged weights, and the images that it was measured on."""
    model, _ = trained_model(result.parent)
    test = dict(found["settings"]["measuring"]["test"])
    test.pop("images", None)
    assert isinstance(model, Family)
    return model, read_small(build(DataConfig, test, "test"))


def archive(model: Family, images: Tensor, negative_elbo_nats: float) -> dict[str, Any]:
    """All images as one file, read back and compared."""
    pictures = list((images[:, 0] > 0).numpy().astype(np.uint8) * 255)
    codec = LosslessCodec(Core(make_coder(model), model.config.family, bytes(8)))
    found = measure_set(pictures, codec)
    ideal_bits = negative_elbo_nats / math.log(2) * len(pictures)
    over = 100 * (8 * found.file_bytes / ideal_bits - 1)
    return {
        "family": model.config.family,
        "images": len(pictures),
        **asdict(found),
        "negative_elbo_bytes": ideal_bits / 8,
        "over_negative_elbo_percent": over,
    }


def compare(model: Family, images: Tensor) -> dict[str, Any]:
    """Gradients by the encoder's last weights, one batch of images, in nats per image.

    Every estimator has as many draws of z; the copies of an image come side by side.
    """
    x = images[:GRADIENT_IMAGES].repeat_interleave(REINFORCE_DRAWS, dim=0)
    context = Context(x.shape[2:], Condition(torch.zeros(len(x))))

    def loss(settings: dict[str, Any]) -> Tensor:
        objective = choose(settings, None)
        rungs, likelihood = model.pass_through(x, context, objective.pathwise)
        terms = objective(x, rungs, likelihood, context.log_beta, 1.0)
        return terms.loss.mean()

    losses = {name: partial(loss, settings) for name, settings in ESTIMATORS.items()}
    moments = gradient_comparison(losses, list(model.encoder.mean.parameters()), GRADIENT_DRAWS)
    reference = moments["reparametrised"].mean
    return {
        name: {
            "total_variance": one.total_variance,
            "squared_norm_of_mean": float(one.mean.square().sum()),
            "distance_from_reparametrised": float((one.mean - reference).norm()),
            "standard_error_of_mean": float(one.error.square().sum().sqrt()),
            "draws": one.draws,
        }
        for name, one in moments.items()
    }


if __name__ == "__main__":
    main()
