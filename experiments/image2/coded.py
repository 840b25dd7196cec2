"""The decoder, trained on the latents that files really hold.

    python experiments/image2/coded.py collect --crops 2000
    python experiments/image2/coded.py train --steps 3000
    python experiments/image2/coded.py measure

In training, the decoder sees draws from the posterior; in a file it gets the draws of the trellis
coder, which lie otherwise about the posterior's mean. `collect` runs the real coder over crops of
the training photographs at random operating points and keeps the latents; `train` fits the decoder
alone to them, with encoder and priors frozen, so that every file stays the same; `measure` shows
real files of the validation photographs by both decoders, into coded.json. Each command goes on
where it was interrupted. Kodak has no part in it.
"""

import argparse
import copy
import json
import time
from pathlib import Path
from typing import Any

import numpy as np
import torch
from safetensors.torch import load_file, save_file
from torch import Tensor

from laconic import shrink
from laconic.codecs.image.codec import ImageCodec
from laconic.codecs.image.decoder import Runtime
from laconic.codecs.image.encoder import LayerWriter, encode_latents
from laconic.codecs.image.file import ImageFile
from laconic.codecs.image.header import QUALITY_STEPS
from laconic.codecs.image.refinement import objective_of
from laconic.codecs.network.file import NetworkFile
from laconic.coding.random import SharedRandomness
from laconic.container.storage import write_atomically
from laconic.data.datasets import data_root
from laconic.data.patches import PatchSampler, load_images, read_split
from laconic.evaluation.report.provenance import describe_run
from laconic.metrics import bd_rate
from laconic.metrics.images import ms_ssim, ms_ssim_db, psnr
from laconic.models.base import NormalLadder
from laconic.pretrained import load, save_released
from laconic.progress import silent

HERE = Path(__file__).parent
WEIGHTS = HERE.parents[1] / "src" / "laconic" / "pretrained" / "photo2.lac"
RESULTS = HERE / "coded.json"
SIDE, PART, SEED = 192, 50, 7
"""Pixels of a crop, crops in a file, the first seed."""
TASTES = (0.0, 0.0, 0.0, 0.5, 1.0)
"""That crops are coded with, in turn."""
BATCH, RATE = 4, 5e-5
PHOTOGRAPHS, QUALITIES = 12, (10, 25, 40, 60)
TUNES = {"psnr": "psnr_db", "ms-ssim": "ms_ssim_db"}
TOLERANCE = 0.003


def codec_of(weights: Path, tune: str | None = None) -> ImageCodec:
    """The codec with some weights."""
    loaded = load(str(weights))
    return ImageCodec(loaded.model, loaded.name, loaded.fingerprint, threads=1, tune=tune)


@torch.inference_mode()
def coded(codec: ImageCodec, x: Tensor, step: int, taste: float, seed: int) -> list[Tensor]:
    """The latents of a crop, `(1, 3, height, width)`, as its file holds them."""
    runtime = codec.runtime
    context = runtime.model.context(x.shape[2:], step, QUALITY_STEPS, taste=taste)
    features = runtime.model.encode(x, context)
    stream = LayerWriter(least_bytes=1 << 40).stream
    shared = SharedRandomness(seed)
    prior = runtime.exact_prior
    return encode_latents(
        runtime.model, prior, codec.coders, features, context, stream, shared
    )[0]  # fmt: skip


def collect(folder: Path, crops: int, weights: Path) -> None:
    """Code crops at random operating points; `folder` gets files of `PART` crops."""
    folder.mkdir(parents=True, exist_ok=True)
    codec = codec_of(weights)
    photos = load_images(read_split(data_root() / "photos", "train"))
    for number in range(-(-crops // PART)):
        path = folder / f"{number:05d}.safetensors"
        if path.exists():
            continue
        generator = np.random.default_rng([SEED, number])
        sampler = PatchSampler(photos, SIDE, PART, SEED + number)
        found: dict[str, Tensor] = {}
        x = sampler.batch(0)
        steps = generator.integers(0, QUALITY_STEPS + 1, PART)
        for k in range(PART):
            taste = TASTES[k % len(TASTES)]
            seed = number * PART + k
            latents = coded(codec, x[k : k + 1], int(steps[k]), taste, seed)
            found |= {f"{k}.{level}": z.half() for level, z in enumerate(latents)}
        found["pictures"] = (x * 255).round().byte().contiguous()
        found["steps"] = torch.from_numpy(steps)
        save_file(found, path)
        print(path.name, flush=True)


class Crops:
    """What was collected, in a new order each time through."""

    def __init__(self, folder: Path) -> None:
        self.parts = [load_file(path) for path in sorted(folder.glob("*.safetensors"))]
        self.places = [(part, k) for part in range(len(self.parts)) for k in range(PART)]

    def batch(self, number: int) -> list[tuple[Tensor, list[Tensor], int, float]]:
        """Pictures, latents, quality steps and tastes."""
        per_pass = len(self.places) // BATCH
        order = np.random.default_rng([SEED, number // per_pass]).permutation(len(self.places))
        start = number % per_pass * BATCH
        return [self.crop(*self.places[place]) for place in order[start : start + BATCH]]

    def crop(self, part: int, k: int) -> tuple[Tensor, list[Tensor], int, float]:
        """One of them."""
        held = self.parts[part]
        levels = sum(name.startswith(f"{k}.") for name in held)
        latents = [held[f"{k}.{level}"].float() for level in range(levels)]
        picture = held["pictures"][k : k + 1].float() / 255
        return picture, latents, int(held["steps"][k]), TASTES[k % len(TASTES)]


def loss_of(
    model: NormalLadder, x: Tensor, latents: list[Tensor], step: int, taste: float
) -> Tensor:
    """The distortion part of the model's objective, nats a pixel."""
    context = model.context(x.shape[2:], step, QUALITY_STEPS, taste=taste)
    objective = objective_of(round(taste * 8192), x.shape[2:])
    terms = objective(x, [], model.likelihood(latents, context), context.log_beta)
    return terms.loss.sum() / x[0, 0].numel()


def train(folder: Path, steps: int, weights: Path, out: Path) -> None:
    """Fit the decoder alone."""
    loaded = load(str(weights))
    model = loaded.model
    assert isinstance(model, NormalLadder)
    crops, began = Crops(folder), time.monotonic()
    model.requires_grad_(requires_grad=False)
    decoder = model.get_submodule("decoder").requires_grad_()
    average = {name: value.detach().clone() for name, value in decoder.named_parameters()}
    optimiser = torch.optim.Adam(decoder.parameters(), RATE)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimiser, steps)
    total = 0.0
    for step in range(steps):
        losses = [loss_of(model, *crop) for crop in crops.batch(step)]
        loss = torch.stack(losses).mean()
        optimiser.zero_grad()
        loss.backward()  # type: ignore[no-untyped-call]
        torch.nn.utils.clip_grad_norm_(decoder.parameters(), 1.0)
        optimiser.step()
        schedule.step()
        for name, value in decoder.named_parameters():
            average[name].lerp_(value.detach(), 0.005)
        total += float(loss.detach())
        if step % 100 == 99:
            print(f"step {step + 1} {total / 100:.4f} {time.monotonic() - began:.0f} s", flush=True)
            total = 0.0
    with torch.no_grad():
        for name, value in decoder.named_parameters():
            value.copy_(average[name])
    save(model, weights, out)


def save(model: NormalLadder, weights: Path, out: Path) -> None:
    """Pack the model; its facts are those of the weights that it started from."""
    meta = NetworkFile.read(weights.read_bytes()).metadata["meta"]
    half = out.with_suffix(".safetensors")
    save_released(model.state_dict(), meta, half)
    write_atomically(out, shrink(half, tolerance=TOLERANCE))


def measure(weights: Path, trained: Path) -> None:
    """Real files of the validation photographs, shown by both decoders.

    The trained decoder is taken in half precision: to pack it again costs more than it gained.
    """
    started, rows = time.time(), []
    images = load_images(read_split(data_root() / "photos", "valid")[:PHOTOGRAPHS])
    gains = {}
    for tune, figure in TUNES.items():
        before = codec_of(weights, tune)
        after = copy.deepcopy(before.runtime.model)
        after.get_submodule("decoder").load_state_dict(
            load(str(trained.with_suffix(".safetensors")))
            .model.get_submodule("decoder")
            .state_dict()
        )
        shows = {"before": before.runtime, "after": Runtime(after, threads=1)}
        curves: dict[str, list[Any]] = {"bpp": [], "before": [], "after": []}
        for quality in QUALITIES:
            found = []
            for x in images:
                data = before.encode(x, quality=quality)
                row: dict[str, Any] = {"tune": tune, "quality": quality}
                row["bpp"] = 8 * len(data) / x.shape[0] / x.shape[1]
                for name, runtime in shows.items():
                    shown = ImageFile.read(data).render(runtime, silent)
                    pixels = np.asarray(shown.convert("RGB"))
                    value = psnr(x, pixels)
                    if figure != "psnr_db":
                        value = ms_ssim_db(ms_ssim(x, pixels))
                    row[name] = round(value, 4)
                found.append(row)
            rows += found
            for name in curves:
                curves[name].append(float(np.mean([row[name] for row in found])))
        new, old = (curves["bpp"], curves["after"]), (curves["bpp"], curves["before"])
        gains[tune] = round(bd_rate(*new, *old), 2)
        print(tune, gains[tune], curves, flush=True)
    command = "python experiments/image2/coded.py measure"
    facts = {"run": describe_run(command, started, HERE.parents[1]), "bd_rate_percent": gains}
    RESULTS.write_text(json.dumps(facts | {"rows": rows}, indent=1) + "\n")


def main() -> None:
    """Collect, train, or measure."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("what", choices=("collect", "train", "measure"))
    parser.add_argument("--folder", type=Path, default=Path("runs/image2/coded"))
    parser.add_argument("--weights", type=Path, default=WEIGHTS)
    parser.add_argument("--out", type=Path, default=Path("runs/image2/decoder.lac"))
    parser.add_argument("--crops", type=int, default=2000)
    parser.add_argument("--steps", type=int, default=3000)
    options = parser.parse_args()
    if options.what == "collect":
        collect(options.folder, options.crops, options.weights)
    elif options.what == "train":
        train(options.folder, options.steps, options.weights, options.out)
    else:
        measure(options.weights, options.out)


if __name__ == "__main__":
    torch.set_num_threads(1)
    main()
