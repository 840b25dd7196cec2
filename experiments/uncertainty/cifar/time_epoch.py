"""Processor seconds of one epoch of every recipe of this folder, from a few steps; no training.

python experiments/uncertainty/cifar/time_epoch.py [--steps 3]

The file times.json has the processor seconds of a step and of an epoch on one core.
"""

import argparse
import json
import time
from dataclasses import replace
from pathlib import Path
from tempfile import TemporaryDirectory

import torch

from laconic.lab.recipes import read_recipe
from laconic.lab.table import experiment_run
from laconic.training.config import read_config

FOLDER = Path(__file__).parent


def seconds_of(name: str, steps: int) -> dict[str, float | int | str]:
    """Of a step, after a first one that is not counted, and of an epoch."""
    recipe = read_recipe(read_config(FOLDER / f"{name}.yaml"))
    parts = recipe.assemble(fresh=True)
    epoch = parts.batches.steps
    with TemporaryDirectory() as folder:
        for count in (1, 1 + steps):
            config = replace(parts.loop, steps=count)
            trainer = replace(parts, loop=config).trainer(Path(folder) / str(count), {})
            started = time.process_time()
            trainer.run()
            spent = time.process_time() - started
            if count == 1:
                first = spent
    step = (spent - first) / steps
    return {"recipe": name, "steps_of_epoch": epoch, "step_seconds": round(step, 3),
            "epoch_seconds": round(step * epoch), "epochs_of_recipe": recipe.train.epochs,
            "recipe_hours": round(step * epoch * recipe.train.epochs / 3600, 1)}  # fmt: skip


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--steps", type=int, default=3)
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    begun = time.time()
    rows = [seconds_of(name, arguments.steps) for name in ("nn", "fnp-plus")]
    run = experiment_run(FOLDER, "", begun)
    run["command"] = run["command"].replace("run.py", "time_epoch.py")
    text = json.dumps({"run": run, "times": rows}, indent=1) + "\n"
    (FOLDER / "times.json").write_text(text)
    print(rows)
