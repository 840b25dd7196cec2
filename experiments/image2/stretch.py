"""One stretch of the long run: it fills the time it is given, and ends with a cool-down.

    python experiments/image2/stretch.py --minutes 9 [--set KEY=VALUE ...]

It starts from `image2.lac` beside this file, or, where that is not there, from the released
`photo2`. It measures the speed on its first steps, and plans as many steps
as the time allows, the last part of them with a falling learning rate. The plan lies in the run's
folder (`schedule.json`), so that an interrupted stretch goes on by the same command. At its end the
averaged weights replace `image2.lac`, and a line of facts is printed for `sittings.json`.
"""

import argparse
import json
import time
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import torch

from laconic import shrink
from laconic.cli.train import show
from laconic.lab.recipes import read_recipe
from laconic.lab.runs import make_trainer
from laconic.pretrained import release
from laconic.training.config import read_config
from laconic.training.loop import CHECKPOINT, Trainer

HERE = Path(__file__).parent
WEIGHTS, RELEASED = HERE / "image2.lac", "photo2"
TOLERANCE = 0.003
"""Relative error of each tensor in `image2.lac`; half of half precision's size."""
PROBE_STEPS = 60
"""Steps after which the speed is measured; the first half of them does not count."""
RESERVE = 0.06
"""Share of the time that is kept for saving, and for steps that become slower."""


@dataclass(frozen=True)
class Schedule:
    """The plan of a stretch.

    Attributes:
        start: iterations behind the weights at its start.
        end: at its end.
        cooldown_start: where the learning rate begins to fall, in a line to zero at `end`.
    """

    start: int
    end: int
    cooldown_start: int


def plan(trainer: Trainer, seconds: float, cooldown: float) -> Schedule:
    """Measure the speed on the first steps, and fill what is left of `seconds`.

    Args:
        trainer: at its start; the steps that are measured are part of the stretch.
        seconds: in all, from now on.
        cooldown: share of the steps in which the learning rate falls.
    """
    began, start, goal = time.monotonic(), trainer.step, trainer.config
    for count in (PROBE_STEPS // 2, PROBE_STEPS):
        probed = time.monotonic()
        trainer.config = replace(goal, steps=start + count)
        trainer.run()
    pace = (PROBE_STEPS - PROBE_STEPS // 2) / (time.monotonic() - probed)
    left = (1 - RESERVE) * seconds - (time.monotonic() - began)
    end = trainer.step + max(1, int(pace * left))
    trainer.config = goal
    return Schedule(start, end, end - round(cooldown * (end - start)))


def follow(trainer: Trainer, schedule: Schedule, minutes: float) -> None:
    """Train to the end of the plan, or until the time is over."""
    if minutes <= 0:
        trainer.save()
        return
    steps = schedule.end - schedule.cooldown_start
    trainer.config = replace(trainer.config, steps=schedule.end, minutes=minutes)
    trainer.rate = replace(
        trainer.rate, cooldown_start=schedule.cooldown_start, cooldown_steps=max(1, steps)
    )
    trainer.run(show)


def run(config: dict[str, Any], minutes: float, cooldown: float, weights: Path) -> bool:
    """Begin a stretch, or go on with one.

    Args:
        config: the recipe; its folder holds the run.
        minutes: that this call may take.
        cooldown: share of the steps in which the learning rate falls.
        weights: where released weights go when the stretch is complete.

    Returns:
        Whether it is complete.
    """
    began = time.monotonic()
    folder = Path(config["folder"])
    noted = folder / "schedule.json"
    trainer = make_trainer(read_recipe(config), resume=(folder / CHECKPOINT).exists())
    if noted.exists():
        schedule = Schedule(**json.loads(noted.read_text()))
    else:
        schedule = plan(trainer, 60 * minutes - (time.monotonic() - began), cooldown)
        noted.write_text(json.dumps(asdict(schedule)) + "\n")
    follow(trainer, schedule, minutes - (time.monotonic() - began) / 60)
    if trainer.step < schedule.end:
        return False
    half = folder / "released.safetensors"
    release(trainer.checkpoint, half)
    weights.write_bytes(shrink(half, tolerance=TOLERANCE))
    facts = {"from": schedule.start, "to": schedule.end, "seconds": round(trainer.seconds)}
    print(json.dumps(facts | {"cooldown_start": schedule.cooldown_start}))
    return True


def main() -> None:
    """Read the command line, and run."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--minutes", type=float, required=True)
    parser.add_argument("--cooldown", type=float, default=0.4)
    parser.add_argument("--weights", type=Path, default=WEIGHTS)
    parser.add_argument("--threads", type=int, default=1, help="of the CPU")
    parser.add_argument("--set", action="append", default=[], metavar="KEY=VALUE")
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    # Transforms and heads need full precision: coefficients span five orders of magnitude.
    torch.backends.cudnn.allow_tf32 = False
    start = options.weights if options.weights.exists() else RELEASED
    config = read_config(HERE / "config.yaml", [f"start_from={start}", *options.set])
    if not run(config, options.minutes, options.cooldown, options.weights):
        print("the time is over; the same command goes on")


if __name__ == "__main__":
    main()
