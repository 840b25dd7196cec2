"""Beside busy processes: how much slower are the default threads than one thread?

    python benchmarks/busy/run.py [PICTURE] [--busy 1] [--repeats 3]

Starts processes that keep cores busy, then times each task on one thread and with the default, in
turns, in two processes: one as the command line sets it up, where torch's threads sleep while they
wait, and one as a user's program is, where they do not. Prints the ratios of the medians, which are
to stay below 1.5.
"""

import argparse
import json
import os
import statistics
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from laconic.data.datasets import data_root

LIMIT = 1.5
CROP = (0, 0, 192, 128)


def measure(picture: Path, repeats: int) -> dict[str, float]:
    """In this process: seconds with the default threads over seconds with one, by task."""
    from PIL import Image

    import laconic

    with Image.open(picture) as file:
        image = file.convert("RGB").crop(CROP)
    lossy, exact = laconic.compress(image), laconic.compress(image, lossless=True)
    tasks: dict[str, Callable[..., Any]] = {
        "compress": lambda threads: laconic.compress(image, threads=threads),
        "decompress": lambda threads: laconic.decompress(lossy, threads=threads),
        "compress --lossless": lambda threads: laconic.compress(
            image, lossless=True, threads=threads
        ),
        "decompress, lossless": lambda threads: laconic.decompress(exact, threads=threads),
    }
    ratios = {}
    for name, task in tasks.items():
        seconds: dict[int | None, list[float]] = {1: [], None: []}
        task(None)
        for _ in range(repeats):
            for threads, found in seconds.items():
                start = time.perf_counter()
                task(threads)
                found.append(time.perf_counter() - start)
        ratios[name] = statistics.median(seconds[None]) / statistics.median(seconds[1])
    return ratios


def main() -> None:
    """Start the busy processes, measure in two others, print a table."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("picture", nargs="?", type=Path, default=_kodak())
    parser.add_argument("--busy", type=int, default=1, help="processes that keep a core busy")
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--here", action="store_true", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.here:
        print(json.dumps(measure(options.picture, options.repeats)))
        return
    busy = [
        subprocess.Popen([sys.executable, "-c", "while True: pass"]) for _ in range(options.busy)
    ]
    try:
        worst = 0.0
        for title, policy in (("command line", "passive"), ("program", "")):
            command = [sys.executable, __file__, str(options.picture), "--here"]
            command += ["--repeats", str(options.repeats)]
            others = {k: v for k, v in os.environ.items() if k != "OMP_WAIT_POLICY"}
            run = subprocess.run(
                command,
                env=others | ({"OMP_WAIT_POLICY": policy} if policy else {}),
                stdout=subprocess.PIPE,
                check=True,
            )
            for name, ratio in json.loads(run.stdout).items():
                print(f"{title:<14}{name:<24}{ratio:6.2f} x one thread", flush=True)
                worst = max(worst, ratio)
    finally:
        for process in busy:
            process.kill()
            process.wait()
    print(f"worst {worst:.2f}, limit {LIMIT}")
    sys.exit(worst > LIMIT)


def _kodak() -> Path:
    return data_root() / "kodak" / "kodim05.png"


if __name__ == "__main__":
    main()
