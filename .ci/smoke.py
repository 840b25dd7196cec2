"""Run every command of an installed laconic once, in an empty folder far from the checkout.

    PYTHON .ci/smoke.py core     # the distribution without extras
    PYTHON .ci/smoke.py extras   # with the extras train, eval, flows and cryoem

PYTHON is that of the environment. Prints a line for each command; the exit status is 1 where one
of them fails. "core" also checks that commands that need an extra name it in one line.
"""

import argparse
import filecmp
import importlib
import json
import os
import subprocess
import sys
import tempfile
from importlib import metadata, resources
from pathlib import Path
from typing import Any

import numpy as np

COMMAND = Path(sys.executable).with_name("laconic")
SWEEP = """
model: {name: dense, likelihood: bernoulli, side: 8, latents: 3, hidden: [16], planes: 2, width: 4}
betas: [0.5]
data: {kind: binary, folder: small, split: train, batch: 4}
test: {split: test}
loop: {steps: 8, log_steps: 2, precision: 32-true}
measure: {train_images: 0, iwae_draws: 2, iwae_images: 4, information_images: 4, generated: 0}
folder: sweep
"""
RECIPE = """
model: {name: dense, likelihood: bernoulli, side: 8, latents: 3, hidden: [16], planes: 2, width: 4}
data: {kind: binary, folder: small, split: train, batch: 4}
loop: {steps: 8, log_steps: 2, precision: 32-true}
folder: run
"""


MODEL = "".join(
    f"ATOM  {k:5d}  CA  ALA A{k:4d}    {x:8.3f}{y:8.3f}{z:8.3f}  1.00  0.00           C\n"
    for k, (x, y, z) in enumerate([(0, 0, 0), (12, 3, -4), (-9, 8, 10), (5, -14, 6)], 1)
)


def laconic(*arguments: object, status: int = 0) -> str:
    """Run a command and return its stdout, or its stderr where it is to fail."""
    words = [str(argument) for argument in arguments]
    done = subprocess.run(
        [COMMAND, *words], capture_output=True, text=True, timeout=600, check=False
    )
    line = " ".join(["laconic", *words])
    if done.returncode != status:
        sys.exit(f"{line}: exit status {done.returncode}, not {status}\n{done.stdout}{done.stderr}")
    print(f"ok   {line}", flush=True)
    return done.stderr if status else done.stdout


def refused_without(extra: str, *arguments: object) -> None:
    """Run a command that needs an extra, and check that its one line on stderr names the extra."""
    said = laconic(*arguments, status=1)
    if said.count("\n") != 1 or "pip install" not in said or extra not in said:
        sys.exit(f"that does not name the extra {extra!r} in one line:\n{said}")


def check(holds: bool, what: str) -> None:
    """Stop where something does not hold."""
    if not holds:
        sys.exit(f"not so: {what}")


def write_inputs() -> None:
    """A photograph, a folder of two, weights, a folder of data sets, a recipe and a sweep."""
    from PIL import Image
    from safetensors.numpy import save_file

    with resources.as_file(resources.files("laconic.pretrained") / "sample.png") as path:
        picture = Image.open(path).convert("RGB").crop((0, 0, 192, 176))
    picture.save("photo.png")
    Path("folder").mkdir()
    picture.save("folder/a.png")
    picture.convert("L").save("folder/b.png")
    rng = np.random.default_rng(0)
    save_file({"w": rng.normal(size=(40, 50)).astype(np.float32)}, "weights.safetensors")
    Path("data/small").mkdir(parents=True)
    packed = np.packbits(rng.integers(2, size=(20, 64), dtype=np.uint8), axis=1)
    np.savez("data/small/binarized_mnist.npz", train=packed, test=packed[:5])
    Path("recipe.yaml").write_text(RECIPE)
    Path("sweep.yaml").write_text(SWEEP)
    Path("model.pdb").write_text(MODEL)


def check_core() -> None:
    """Every command that needs no extra; of the others, that they say what they need."""
    check(metadata.version("laconic-codec") in laconic("--version"), "the version is printed")
    check("compress" in laconic("--help"), "the help lists the commands")
    laconic("compress", "photo.png", "--quality", "50")
    laconic("decompress", "photo.lac", "-o", "back.png")
    laconic("compress", "photo.png", "--lossless", "-o", "exact.lac")
    laconic("decompress", "exact.lac", "-o", "exact.png")
    check(pixels("exact.png") == pixels("photo.png"), "a lossless file gives the same pixels")
    laconic("compress", "--lossless", "folder", "-o", "set.lac")
    laconic("decompress", "set.lac", "-o", "set")
    check(pixels("set/b.png") == pixels("folder/b.png"), "an archive gives the same pixels")
    check("nats" in laconic("info", "photo.lac"), "info prints nats")
    check(load(laconic("info", "set.lac", "--json"))["pictures"] == 2, "info counts pictures")
    laconic("shrink", "weights.safetensors", "--lossless", "-o", "weights.lac")
    laconic("expand", "weights.lac", "-o", "same.safetensors")
    check(filecmp.cmp("weights.safetensors", "same.safetensors", shallow=False), "equal weights")
    check("kodak" in laconic("data", "list", "--data", "data"), "data list knows Kodak")
    laconic("data", "fetch", "photos", "--data", "data", status=1)
    laconic("bench", "entropy", "--repeats", "1", "--json", "bench.json")
    exact = ("--lossless", "--effort", "0", "--jobs", "2")
    laconic("corpus", "compress", "folder", "corpus", *exact)
    laconic("corpus", "decompress", "corpus", "corpus-back")
    check(pixels("corpus-back/b.png") == pixels("folder/b.png"), "a corpus gives the same pixels")
    refused_without("cluster", "corpus", "compress", "folder", "corpus", "--engine", "ray")
    refused_without("eval", "evaluate", "folder", "--against", "jpeg")
    refused_without("eval", "demo", "-o", "demo")
    refused_without("train", "train", "recipe.yaml", "--data", "data")
    refused_without("train", "rd", "run", "sweep.yaml", "--data", "data")
    refused_without("cryoem", "fsc", "a.mrc", "b.mrc")
    refused_without("studio", "studio", "--port", "0")


def check_extras() -> None:
    """The commands that need the extras train, eval, flows and cryoem."""
    laconic("evaluate", "folder", "--quality", "50", "--against", "jpeg", "--html", "page.html")
    check("</html>" in Path("page.html").read_text(), "evaluate writes a page")
    laconic("demo", "-o", "demo")
    laconic("train", "recipe.yaml", "--data", "data")
    laconic("train", "recipe.yaml", "--data", "data", "--resume")
    laconic("rd", "run", "sweep.yaml", "--data", "data")
    laconic("rd", "plot", "sweep", "-o", "plane")
    check(Path("plane/report.html").exists(), "rd plot writes a page")
    small = ("--box", "16", "--pixel-size", "4", "--number", "40")
    laconic("simulate", "model.pdb", "-o", "p.mrcs", "--star", "p.star", *small)
    laconic("reconstruct", "p.star", "-o", "map.mrc", "--half-maps", "--ignore-ctf")
    check("0.143" in laconic("fsc", "map-half1.mrc", "map-half2.mrc"), "fsc names a resolution")
    laconic("bench", "rec", "--quick", "--coder", "greedy", "--json", "rec.json")


def pixels(path: str) -> bytes:
    """The pixels of a picture."""
    from PIL import Image

    with Image.open(path) as picture:
        return picture.tobytes()


def load(text: str) -> dict[str, Any]:
    """The JSON object that a command printed."""
    value: dict[str, Any] = json.loads(text)
    return value


def main() -> None:
    """Run one half of the commands in a temporary folder."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("part", choices=("core", "extras"))
    part = parser.parse_args().part
    package = importlib.import_module("laconic")

    check("site-packages" in package.__file__, "laconic is imported from its wheel")
    os.environ.pop("PYTHONPATH", None)
    with tempfile.TemporaryDirectory() as folder:
        os.chdir(folder)
        write_inputs()
        check_core() if part == "core" else check_extras()
        os.chdir("/")
    print(f"every command of {part} works")


if __name__ == "__main__":
    main()
