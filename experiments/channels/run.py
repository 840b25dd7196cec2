"""Do what is left of sweeps of systems, one run after the other in this process.

    python experiments/channels/run.py experiments/channels/pairs/faces-sweep.yaml [--minutes 12]

The same as `laconic channels run`, which starts a process for every run and takes them by turns.
"""

import argparse
import time
from pathlib import Path

import torch

from laconic.lab.recipes import read_recipe
from laconic.lab.runs import complete, is_finished
from laconic.lab.sweep import read_sweep
from laconic.training.config import read_config


def main() -> None:
    """Run sweeps until they are finished or the time is over."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("sweeps", nargs="+", type=Path)
    parser.add_argument("--minutes", type=float, default=1e9)
    options = parser.parse_args()
    torch.set_num_threads(1)
    started = time.monotonic()
    for path in options.sweeps:
        for run in read_sweep(read_config(path)).runs:
            recipe = read_recipe(run.recipe)
            if is_finished(recipe):
                continue
            if time.monotonic() - started > 60 * options.minutes:
                print("time is over", flush=True)
                return
            result = complete(recipe)
            print(run.name, result["distortion"], result["train_seconds"], flush=True)


if __name__ == "__main__":
    main()
