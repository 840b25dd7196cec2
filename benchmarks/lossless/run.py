"""Speed of the lossless codecs: raw megabytes per second, and waves against pixel by pixel.

    python benchmarks/lossless/run.py

The autoregressive decoder keeps activations and reads a slanted diagonal at a time. The naive one
runs the whole network for every pixel; both read the same stack and must give the same pixels.
"""

import argparse
import json
import time
from importlib import resources
from pathlib import Path

import numpy as np
import torch
from PIL import Image

from laconic.codecs.lossless.chains.bits_back import ChainCoder
from laconic.codecs.lossless.chains.pixels import pop_samples, to_steps
from laconic.codecs.lossless.chains.stacks import GroupShape
from laconic.codecs.lossless.core import Samples
from laconic.coding.stack.ans import Stack
from laconic.evaluation.report.provenance import describe_run
from laconic.models.exact import ExactLadder, MixtureParameters, Shape
from laconic.pretrained import load

HERE = Path(__file__).resolve().parent
SIDES = (32, 48, 64)
REPEATS = 3


def naive_decode(model: ExactLadder, data: bytes, height: int, width: int) -> Samples:
    """One full forward pass per pixel."""
    likelihood = model.likelihood(None, Shape(1, 3, height, width))
    stack, canvas = Stack.from_bytes(data), np.zeros((1, height, width, 3), np.uint8)
    with torch.inference_mode():
        for place, position in enumerate(np.concatenate(likelihood.waves())):
            given = likelihood.given(torch.from_numpy(to_steps(canvas)))[0]
            assert isinstance(given, MixtureParameters)
            one = MixtureParameters(
                *(part[place : place + 1] for part in given if part is not None)
            )
            canvas[0, position // width, position % width] = pop_samples(stack, one, 8)[0]
    return canvas


def seconds(work: object, repeats: int) -> float:
    """The least of some runs."""
    times = []
    for _ in range(repeats):
        started = time.perf_counter()
        work()  # type: ignore[operator]
        times.append(time.perf_counter() - started)
    return min(times)


def compare(model: ExactLadder, picture: Samples) -> dict[str, float]:
    """Both decoders on one crop."""
    coder, shape = ChainCoder(model), GroupShape.of(picture)
    group = coder.encode(picture)
    waves = next(iter(coder.decode(group, *shape)))
    naive = naive_decode(model, group.chains[0].data, *shape[1:3])
    if not (np.array_equal(waves, picture[0]) and np.array_equal(naive, picture)):
        raise SystemExit("the decoders disagree")
    fast = seconds(lambda: list(coder.decode(group, *shape)), REPEATS)
    slow = seconds(lambda: naive_decode(model, group.chains[0].data, *shape[1:3]), 1)
    return {"side": shape.height, "waves_s": fast, "naive_s": slow, "ratio": slow / fast}


def main() -> None:
    """Measure and write results.json."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--model", default="pixels", help="an autoregressive model")
    parser.add_argument("--threads", type=int, default=2)
    arguments = parser.parse_args()
    torch.set_num_threads(arguments.threads)
    started = time.time()
    model = load(arguments.model).model.exact_ladder()
    with resources.as_file(resources.files("laconic.pretrained") / "sample.png") as path:
        picture = np.asarray(Image.open(path).convert("RGB"))
    rows = []
    for side in SIDES:
        top, left = ((length - side) // 2 for length in picture.shape[:2])
        rows.append(compare(model, picture[None, top : top + side, left : left + side]))
        print(rows[-1], flush=True)
    run = describe_run(
        "python benchmarks/lossless/run.py", started, HERE.parents[1], threads=arguments.threads
    )
    document = {"title": "Waves against pixel by pixel", "run": run, "rows": rows}
    (HERE / "results.json").write_text(json.dumps(document, indent=1) + "\n")


if __name__ == "__main__":
    main()
