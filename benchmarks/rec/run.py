"""Rate, distortion and speed of every relative entropy coder on a synthetic ladder level.

    python benchmarks/rec/run.py

The source: latents [1, 256, 32, 48] as a 768x512 picture has them. Prior variance S = channel
(log-uniform over five decades) x spatial activity (smooth, log-normal) x jitter; y ~ N(0, S + 1);
target = prior times N(y; z, 1). Distortion is the mean of (z - y)^2, in dB against exact draws.
"""

import argparse
import json
import math
import os
import time
from pathlib import Path
from typing import Any

import numpy as np
import torch
from scipy.ndimage import gaussian_filter
from torch import Tensor
from torch.distributions import Normal

from laconic.coding.random import SharedRandomness
from laconic.coding.relative_entropy import CODERS, RelativeEntropyCoder
from laconic.coding.relative_entropy.trellis import TrellisCoder
from laconic.coding.stream import QueueDecoder, QueueEncoder
from laconic.evaluation.provenance import describe_run

HERE = Path(__file__).resolve().parent

SHAPE = (1, 256, 32, 48)
GAINS = (0.02, 0.05, 0.3, 1.0)


def source(gain: float, seed: int) -> tuple[Tensor, Normal, Normal]:
    """Data y, target and prior of one level."""
    rng = np.random.default_rng(seed)
    channels = np.exp(rng.permutation(np.linspace(np.log(2e-3), np.log(400), SHAPE[1])))
    fields = gaussian_filter(rng.normal(size=(8, *SHAPE[2:])), (0, 2.5, 2.5))
    activity = np.exp(1.2 * fields / fields.std())[rng.integers(0, 8, SHAPE[1])]
    jitter = np.exp(0.5 * rng.normal(size=SHAPE[1:]))
    variance = np.maximum(gain * channels[:, None, None] * activity * jitter, 1e-6)
    y = rng.normal(size=SHAPE[1:]) * np.sqrt(variance + 1)
    weight = variance / (variance + 1)

    def tensor(x: np.ndarray) -> Tensor:
        return torch.from_numpy(x[None]).float()

    target = Normal(tensor(weight * y), tensor(np.sqrt(weight)))
    return tensor(y), target, Normal(torch.zeros(SHAPE), tensor(np.sqrt(variance)))


def measure(coder: RelativeEntropyCoder, gain: float, seed: int) -> dict[str, Any]:
    """One line of the table."""
    y, target, prior = source(gain, seed)
    shared, stream = SharedRandomness(seed), QueueEncoder()
    begin = time.perf_counter()
    draw, receipt = coder.encode(target, prior, stream, shared)
    message = stream.finish()
    encoded = time.perf_counter()
    received = coder.decode(prior, QueueDecoder(message), shared)
    decoded = time.perf_counter()
    torch.manual_seed(seed)
    exact = np.mean([float((target.sample() - y).square().mean()) for _ in range(4)])
    loss = float((draw - y).square().mean()) / float(exact)
    return {
        "coder": coder.id,
        "config": coder.config(),
        "gain": gain,
        "seed": seed,
        "ideal_bits": receipt.ideal_bits,
        "file_bits": 8 * len(message),
        "bits_per_kl": 8 * len(message) / receipt.ideal_bits,
        "parts_per_kl": {k: v / receipt.ideal_bits for k, v in receipt.parts.items()},
        "loss_db": 10 * math.log10(loss),
        "encode_seconds": encoded - begin,
        "decode_seconds": decoded - encoded,
        "round_trip": bool(torch.equal(draw, received)),
    }


def main() -> None:
    """Measure every coder, and the trellis with shorter and longer registers."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--out", type=Path, default=HERE / "results.json")
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--seed", type=int, default=0)
    arguments = parser.parse_args()
    started, load = time.time(), os.getloadavg()[0]
    torch.set_num_threads(arguments.threads)
    coders = [coder() for coder in CODERS.values()]
    coders += [TrellisCoder(state_bits=bits) for bits in (10, 12, 13, 15, 16)]
    for coder in coders:
        measure(coder, GAINS[0], 1)  # compiles
    rows = []
    for gain in GAINS:
        for coder in coders:
            row = measure(coder, gain, arguments.seed)
            rows.append(row)
            print(
                f"{row['coder']:11s} {row['config'].get('state_bits', ''):>3} "
                f"{row['ideal_bits'] / 1e3:6.1f} kbit  x{row['bits_per_kl']:.3f}  "
                f"{row['loss_db']:+.3f} dB  "
                f"{row['encode_seconds']:.2f} s  {row['decode_seconds']:.2f} s",
                flush=True,
            )
    result = {
        "title": "Relative entropy coders on a synthetic ladder level",
        "run": describe_run(
            "python benchmarks/rec/run.py",
            started,
            HERE.parents[1],
            seeds=[arguments.seed],
            threads=arguments.threads,
            load_before=load,
        ),
        "coders": rows,
    }
    arguments.out.write_text(json.dumps(result, indent=1) + "\n")


if __name__ == "__main__":
    main()
