"""Speed of the code that goes through a ladder of latents, against an older checkout.

    git worktree add ../before e96ccda
    python benchmarks/chains/run.py --against ../before

One process measures one checkout; the two take turns, so that a change of the machine's speed
meets both. A part's time is the least processor time over the repeats of one process; the ratio is
the median over the turns.
"""

import argparse
import importlib
import json
import os
import statistics
import subprocess
import sys
import time
from collections.abc import Callable
from importlib import resources
from pathlib import Path
from typing import Any

HERE = Path(__file__).resolve().parent
ROOT = HERE.parents[1]
SEED = 0
PICTURES, SIDE = 12, 48
LADDER = {"strides": (8, 4, 2), "latents": (8, 8, 8), "widths": (32, 32, 32)}
SLICED = {"block": 4, "slices": (3, 9, 36), "top": 4, "embedding": 8}
CROP = 256
ALLOWED_PERCENT = 3.0


def find(names: tuple[str, ...], attribute: str) -> Any:
    """An attribute of the first module that this checkout has; modules were renamed over time."""
    for name in names:
        try:
            return getattr(importlib.import_module(name), attribute)
        except ImportError:
            continue
    raise SystemExit(f"none of {', '.join(names)} has {attribute}")


def chain_parts() -> dict[str, Callable[[], object]]:
    """Bits-back chains of a pixel ladder with latents and causal context, encoded and decoded."""
    import numpy as np
    import torch

    coder_kind = find(
        ("laconic.codecs.lossless.chains.bits_back", "laconic.codecs.chains"), "ChainCoder"
    )
    shape_kind = find(
        ("laconic.codecs.lossless.chains.stacks", "laconic.codecs.lanes"), "GroupShape"
    )
    from laconic.models import make_model

    torch.manual_seed(SEED)
    settings = {"name": "pixels", **LADDER, "context_width": 16, "context_blocks": 1}
    model = make_model(settings).exact_ladder()
    rng = np.random.default_rng(SEED)
    start = rng.integers(60, 180, (PICTURES, 1, 1, 3))
    noise = rng.integers(-9, 10, (PICTURES, SIDE, SIDE, 3))
    pixels = (start + noise).astype(np.uint8)
    coder = coder_kind(model, threads=1)
    group = coder.encode(pixels)
    return {
        "bits-back chain, encode": lambda: coder.encode(pixels),
        "bits-back chain, decode": lambda: list(coder.decode(group, *shape_kind.of(pixels))),
    }


def model_parts() -> dict[str, Callable[[], object]]:
    """One pass over all levels with draws, and its gradient, as training needs it."""
    import torch

    from laconic.models import make_model

    torch.manual_seed(SEED)
    model = make_model({"name": "sliced", **SLICED})
    x = torch.rand(1, 3, 192, 192)
    new = hasattr(model, "draw_rungs")
    context = model.context((192, 192), 1, 2) if new else model.context(192, 192, 1, 2)
    draw = model.draw_rungs if new else model.climb

    def rungs() -> Any:
        torch.manual_seed(SEED)
        return draw(x, context)

    def step() -> None:
        sum(rung.latent.square().mean() for rung in rungs()).backward()

    return {"draw all levels": rungs, "draw all levels, with gradient": step}


def codec_parts() -> dict[str, Callable[[], object]]:
    """The lossy codec with `default`, on a crop of the sample photograph."""
    import numpy as np
    from PIL import Image

    import laconic

    with resources.as_file(resources.files("laconic.pretrained") / "sample.png") as path:
        whole = np.asarray(Image.open(path).convert("RGB"))
    picture = np.ascontiguousarray(whole[:CROP, :CROP])
    data = laconic.compress(picture, quality=50)
    return {
        "lossy compress": lambda: laconic.compress(picture, quality=50),
        "lossy decompress": lambda: laconic.decompress(data),
    }


def measure(repeats: int) -> dict[str, float]:
    """Least processor seconds of every part in this process."""
    import torch

    torch.set_num_threads(1)
    seconds = {}
    for name, work in {**chain_parts(), **model_parts(), **codec_parts()}.items():
        work()
        times = []
        for _ in range(repeats):
            started = time.process_time()
            work()
            times.append(time.process_time() - started)
        seconds[name] = min(times)
    return seconds


def measured(checkout: Path, repeats: int) -> dict[str, float]:
    """What one process measures of a checkout."""
    command = [sys.executable, str(Path(__file__).resolve()), "--measure", str(repeats)]
    environment = {**os.environ, "PYTHONPATH": str(checkout / "src"), "OMP_NUM_THREADS": "1"}
    done = subprocess.run(command, env=environment, check=True, capture_output=True, text=True)
    found: dict[str, float] = json.loads(done.stdout.splitlines()[-1])
    return found


def compare(older: Path, turns: int, repeats: int) -> list[dict[str, object]]:
    """Both checkouts in turn, and the rows of the table."""
    pairs = []
    for turn in range(turns + 1):
        pair = (measured(ROOT, repeats), measured(older, repeats))
        if turn:  # The first turn compiles and fills caches.
            pairs.append(pair)
            print(f"turn {turn} of {turns}", flush=True)
    rows: list[dict[str, object]] = []
    for name in pairs[0][0]:
        ratios = [new[name] / old[name] for new, old in pairs]
        percent = 100 * (statistics.median(ratios) - 1)
        rows.append(
            {
                "name": name,
                "target": f"at most {ALLOWED_PERCENT:g} % slower than before",
                "ours": f"{percent:+.1f} %",
                "met": percent <= ALLOWED_PERCENT,
                "new_s": statistics.median(new[name] for new, _ in pairs),
                "old_s": statistics.median(old[name] for _, old in pairs),
                "lowest_ratio": min(ratios),
                "highest_ratio": max(ratios),
            }
        )
        print(rows[-1], flush=True)
    return rows


def main() -> None:
    """Compare and write results.json."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--against", type=Path, help="the older checkout")
    parser.add_argument("--turns", type=int, default=7)
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--measure", type=int, help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.measure:
        print(json.dumps(measure(arguments.measure)))
        return
    if arguments.against is None:
        parser.error("name the older checkout: --against FOLDER")
    started = time.time()
    rows = compare(arguments.against.resolve(), arguments.turns, arguments.repeats)
    from laconic.evaluation.report.provenance import describe_run

    run = describe_run("python benchmarks/chains/run.py --against OLDER", started, ROOT, threads=1)
    document = {"title": "Speed of the ladder's code, against e96ccda", "run": run, "rows": rows}
    (HERE / "results.json").write_text(json.dumps(document, indent=1) + "\n")


if __name__ == "__main__":
    main()
