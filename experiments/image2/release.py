"""Release image model 2: put its weights into the package, and make it the model of `compress`.

    python experiments/image2/release.py                  # into this checkout
    python experiments/image2/release.py --into FOLDER    # into a copy of the package, to try it

It copies `image2.lac` to `pretrained/photo2.lac`, writes the model card `photo2.md` from
`results.json`, `sittings.json` and the weights themselves, and names the model in
`laconic.pretrained.DEFAULT`. `default.lac` stays, since its files name it. Then, in a new process,
it compresses a photograph with each taste, reads it back, and reads a file of `default`. Where one
of these fails, the checkout is left for you to look at; nothing is committed.

Before: `curve.py`, so that `results.json` has the last weights. After: `experiments/kodak/run.py
--tune psnr` and `--tune ms-ssim`, and `experiments/report.py`.
"""

import argparse
import json
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from laconic.models.sliced.ladder import SlicedLadder
from laconic.pretrained import Pretrained, load

HERE = Path(__file__).resolve().parent
PACKAGE = HERE.parents[1] / "src" / "laconic"
NAME = "photo2"
CONSTANT = re.compile(r'^DEFAULT = "[^"]*"$', re.MULTILINE)

CARD = """# Model card: `{name}`

| | |
|---|---|
| network | the sliced ladder (`laconic.models.sliced.ladder`) with second branches, refined priors, a checkerboard in two slices and taste; {parameters:.2f} million parameters, {levels} levels |
| file | `{name}.lac`, {megabytes:.1f} MB, packed by our own network codec; fingerprint {fingerprint} |
| operating points | beta from {smallest:g} to {largest:g} (quality 100 to 1) and taste from squared error (`--tune psnr`) to MS-SSIM (`--tune ms-ssim`), one set of weights |
| objective | rate + (1 - t) squared error / (2 beta) + t x 0.0155 (1 - MS-SSIM) / beta, t the taste |
| training data | the photographs of `default`'s card, and 4 % pictures of screens and drawings |
| iterations | {steps:,}: the first 150,000 are those of `default`, from which this model was grown; see `experiments/image2/sittings.json` ({sittings} stretches) |
| licence of the weights | MIT; the photographs keep their own licences and are not contained in the weights' file |

It is meant for photographs at 0.1 to 2 bits per pixel. Kodak's photographs were not in the training data and had no part in any choice.

Ideal rates on twelve validation photographs, BD-rate in per cent (negative: fewer bits):

| taste | PSNR, against `default` | MS-SSIM, against `default` | PSNR, against HEVC 4:4:4 | MS-SSIM, against HEVC 4:4:4 |
|---|---:|---:|---:|---:|
{rows}
"""  # noqa: E501

TRIAL = """
import sys, numpy, laconic
from PIL import Image
from laconic.pretrained import DEFAULT
photograph = Image.open(sys.argv[1]).convert("RGB").crop((0, 0, 192, 192))
assert DEFAULT == sys.argv[2], DEFAULT
for tune in ("psnr", "balanced", "ms-ssim"):
    data = laconic.compress(photograph, quality=40, tune=tune, coder="trellis")
    info = laconic.open(data).info
    assert (info.model, info.tune) == (DEFAULT, tune), info
    back = numpy.asarray(laconic.decompress(data)).astype(float)
    error = ((back - numpy.asarray(photograph)) ** 2).mean()
    print(f"{tune}: {info.bpp:.3f} bits per pixel, PSNR {10 * numpy.log10(255**2 / error):.2f} dB")
old = laconic.compress(photograph, quality=40, model="default", coder="trellis")
assert laconic.open(old).info.model == "default"
assert laconic.decompress(old).size == (192, 192)
print("default: decodes")
"""


def card(released: Pretrained, size_bytes: int, rows: Sequence[Mapping[str, Any]]) -> str:
    """The model card."""
    model = released.model
    assert isinstance(model, SlicedLadder)
    lines = []
    for row in rows:
        if row["iterations"] == released.steps and row["taste"] is not None:
            found = row["bd_rate_percent"]
            values = [
                found[against][figure]
                for against in ("default", "hevc")
                for figure in ("psnr_db", "ms_ssim_db")
            ]
            lines.append(f"| {row['taste']:g} | " + " | ".join(f"{x:+.1f}" for x in values) + " |")
    if not lines:
        raise SystemExit(
            f"results.json has no rows of these weights ({released.steps} iterations): "
            "run curve.py first"
        )
    return CARD.format(
        name=NAME,
        parameters=sum(p.numel() for p in model.parameters()) / 1e6,
        levels=model.levels,
        megabytes=size_bytes / 1e6,
        fingerprint=released.fingerprint[:8].hex(),
        smallest=model.beta_range[0],
        largest=model.beta_range[1],
        steps=released.steps,
        sittings=len(json.loads((HERE / "sittings.json").read_text())["sittings"]),
        rows="\n".join(lines),
    )


def install(weights: Path, text: str, package: Path) -> None:
    """Write the weights and the card, and name the model as the default."""
    shutil.copyfile(weights, package / "pretrained" / f"{NAME}.lac")
    (package / "pretrained" / f"{NAME}.md").write_text(text, encoding="utf-8")
    module = package / "pretrained" / "__init__.py"
    source, count = CONSTANT.subn(f'DEFAULT = "{NAME}"', module.read_text(encoding="utf-8"))
    if count != 1:
        raise SystemExit(f"{module}: the line with DEFAULT was not found")
    module.write_text(source, encoding="utf-8")


def check(package: Path, photograph: Path) -> None:
    """Compress and decompress in a new process that imports this package."""
    place = os.environ | {"PYTHONPATH": str(package.parent)}
    command = [sys.executable, "-c", TRIAL, str(photograph), NAME]
    subprocess.run(command, check=True, env=place)


def main() -> None:
    """Release."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--weights", type=Path, default=HERE / "image2.lac")
    parser.add_argument("--into", type=Path, help="a folder for a copy of the package")
    options = parser.parse_args()
    rows = json.loads((HERE / "results.json").read_text())["rows"]
    text = card(load(options.weights), options.weights.stat().st_size, rows)
    package = PACKAGE
    if options.into is not None:
        package = options.into / "laconic"
        shutil.copytree(PACKAGE, package, ignore=shutil.ignore_patterns("*.nbc"))
    install(options.weights, text, package)
    check(package, PACKAGE / "pretrained" / "sample.png")


if __name__ == "__main__":
    main()
