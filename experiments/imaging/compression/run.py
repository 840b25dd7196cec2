"""Maps of densities to files: bytes at equal resolution, beside gzip, zfp, Blosc2 and float16.

    python experiments/imaging/compression/run.py [--images 20000] [--box 128] [--saved FOLDER]

With --saved the maps and the rows of each molecule are kept in a folder, so that an interrupted run
goes on.

Maps of GroEL and of the 30S ribosome are reconstructed from noisy images of known pose. Each codec
is tried from fine to coarse. Of each the smallest file counts whose wavelength at a correlation of
0.5 with the truth is at most half a percent larger than that of the map itself. More carefully, our
file of the default quality is compared with the smallest of others that lowers no shell's
correlation by more than 0.01, down to that wavelength. Half maps are coded the same way, and their
correlation is compared with that of the plain half maps.
"""

import argparse
import gzip
import json
import os
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import blosc2
import numpy as np
import torch
import zfpy
import zstandard
from numpy.typing import NDArray
from safetensors.torch import load_file, save_file
from torch import Tensor

import laconic
from laconic.data.microscopy.maps import map_bytes
from laconic.data.microscopy.structures import read_atoms
from laconic.evaluation.imaging.reconstruction import variance_map
from laconic.evaluation.report.provenance import describe_run
from laconic.imaging import rotations, slices
from laconic.imaging.empirical import fit
from laconic.imaging.simulation import density
from laconic.imaging.statistics import Statistics, Views
from laconic.metrics.fourier_shells import resolution, shell_correlation

HERE = Path(__file__).resolve().parent
Volume = NDArray[np.float32]
Round = Callable[[str], tuple[int, Volume]]
"""Codes the map, or a half map, by name: bytes, and the map that is decoded."""

BOX = 128
MOLECULES = {"groel": ("groel_1oel.pdb.gz", 2.8), "ribosome": ("ribosome_30s.pdb.gz", 2.6)}
"""Files, and angstroms of a pixel in a box of 128."""
BATCH, SAMPLE, SNR, PADDING = 125, 4, 0.04, 3
COARSER, FALL, QUALITY = 1.005, 0.01, 50
"""The wavelength at 0.5 may grow by this factor; a shell's correlation may fall by this much."""
QUALITIES = (75, 50, 40, 30, 20)
TOLERANCES = tuple(2.0**power for power in range(-1, 6))
"""Of zfp, in standard deviations of the map: it rounds them down to powers of two itself."""
MANTISSAS = (8, 6, 5, 4, 3, 2)
HALVES = ("half1", "half2")


def reconstruct(name: str, options: argparse.Namespace) -> dict[str, Tensor]:
    """The truth; the map and its variance; two half maps. Kept in a folder, if one is given."""
    saved = options.saved and options.saved / f"{name}.safetensors"
    if saved and saved.exists():
        return load_file(saved)
    file, pixel = MOLECULES[name][0], MOLECULES[name][1] * BOX / options.box
    atoms = read_atoms(options.data / "cryo-em" / file)
    places, weights = torch.from_numpy(atoms.places), torch.from_numpy(atoms.weights)
    truth = density(places, weights, options.box, pixel, 0.6 * pixel)
    truth = truth / truth.std()
    turns = rotations.uniform(options.images, torch.Generator().manual_seed(1))
    generator = torch.Generator().manual_seed(2)
    spectrum = slices.to_spectrum(truth, PADDING)
    halves, kept, noise = [Statistics.empty(options.box) for _ in range(2)], [], 0.0
    for number, part in enumerate(turns.split(BATCH)):
        images = slices.images_of(spectrum, part, padding=PADDING, wide=False)
        noise = noise or float((images.var() / SNR).sqrt())
        images = images + noise * torch.randn(images.shape, generator=generator)
        halves[number % 2].insert(Views(images, part))
        if number < SAMPLE:
            kept.append(images)
    views = Views(torch.cat(kept), turns[: SAMPLE * BATCH])
    whole = fit(halves[0] + halves[1], views=views)
    parts = [fit(half, noise=whole.noise, prior=whole.prior).posterior for half in halves]
    found = {
        "truth": truth,
        "map": whole.posterior.volume(),
        "variance": torch.from_numpy(variance_map(whole.posterior)),
        "half1": parts[0].volume(),
        "half2": parts[1].volume(),
    }
    found = {key: value.float().contiguous() for key, value in found.items()}
    if saved:
        saved.parent.mkdir(parents=True, exist_ok=True)
        save_file(found, saved)
    return found


def families(volumes: dict[str, Volume], folder: Path) -> Iterator[tuple[str, float, Round]]:
    """Codecs with their settings, from fine to coarse: name, setting, coder."""
    paths = {key: folder / f"{key}.mrc" for key in volumes}

    def ours(name: str, quality: float, known: dict[str, Any]) -> tuple[int, Volume]:
        data = laconic.compress_map(paths[name], quality=quality, **known)
        return len(data), laconic.decompress_map(data).density

    variance: dict[str, Any] = {"variance": paths["variance"]}
    halves: dict[str, Any] = {"half_maps": (paths["half1"], paths["half2"])}
    spread = float(volumes["map"].std())
    for quality in QUALITIES:
        yield "laconic", quality, lambda n, q=quality: ours(n, q, variance)
    for quality in (50, 30):
        yield "laconic, half maps", quality, lambda n, q=quality: ours(n, q, halves)
    for tolerance in TOLERANCES:
        yield "zfp", tolerance, lambda n, t=tolerance * spread: _zfp(volumes[n], t)
    for bits in MANTISSAS:
        yield "blosc2, truncated", bits, lambda n, b=bits: _blosc(volumes[n], b)
    yield "gzip", 0, lambda n: (len(gzip.compress(volumes[n].tobytes(), 9)), volumes[n])
    yield "blosc2", 23, lambda n: _blosc(volumes[n], 23)
    yield "float16, zstd", 11, lambda n: _half(volumes[n])


def _zfp(volume: Volume, tolerance: float) -> tuple[int, Volume]:
    data = zfpy.compress_numpy(volume, tolerance=tolerance)
    return len(data), zfpy.decompress_numpy(data)


def _blosc(volume: Volume, bits: int) -> tuple[int, Volume]:
    filters, meta = [blosc2.Filter.BITSHUFFLE], [0]
    if bits < 23:
        filters, meta = [blosc2.Filter.TRUNC_PREC, *filters], [bits, *meta]
    settings = {"codec": blosc2.Codec.ZSTD, "clevel": 9, "filters": filters, "nthreads": 1}
    array = blosc2.asarray(volume, cparams={**settings, "filters_meta": meta})
    return array.schunk.cbytes, array[:]


def _half(volume: Volume) -> tuple[int, Volume]:
    half = volume.astype(np.float16)
    return len(zstandard.ZstdCompressor(19).compress(half.tobytes())), half.astype(np.float32)


def measure(found: dict[str, Tensor], pixel: float) -> dict[str, Any]:
    """Every codec and setting: bytes, wavelengths, the largest fall of a shell's correlation."""
    volumes = {key: tensor.numpy() for key, tensor in found.items() if key != "truth"}
    before = shell_correlation(found["map"], found["truth"])
    between = shell_correlation(found["half1"], found["half2"])
    last = int((before[1:] < 0.5).nonzero()[0, 0]) + 1
    rows = []
    with tempfile.TemporaryDirectory() as name:
        for key, volume in volumes.items():
            (Path(name) / f"{key}.mrc").write_bytes(map_bytes(volume, pixel))
        for family, setting, code in families(volumes, Path(name)):
            began = time.process_time()
            size, whole = code("map")
            seconds = time.process_time() - began
            after = shell_correlation(torch.from_numpy(whole), found["truth"])
            row = {
                "codec": family,
                "setting": setting,
                "bytes": size,
                "angstroms": round(resolution(after, pixel, 0.5), 4),
                "largest_fall": round(float((before - after)[1:last].max()), 5),
                "processor_seconds": round(seconds, 2),
            }
            if family == "zfp" or (family == "laconic" and setting in QUALITIES[1::2]):
                apart = shell_correlation(*(torch.from_numpy(code(half)[1]) for half in HALVES))
                row["half_sets_angstroms"] = round(resolution(apart, pixel, 0.143), 4)
                row["half_sets_largest_rise"] = round(float((apart - between)[1:-1].max()), 4)
            rows.append(row)
            print(row, flush=True)
    return {
        "pixel_size": pixel,
        "angstroms": round(resolution(before, pixel, 0.5), 4),
        "half_sets_angstroms": round(resolution(between, pixel, 0.143), 4),
        "raw_bytes": volumes["map"].nbytes,
        "files": rows,
    }


def case(name: str, options: argparse.Namespace) -> dict[str, Any]:
    """What is measured of a molecule, or was kept."""
    saved = options.saved and options.saved / f"{name}.json"
    if saved and saved.exists():
        kept: dict[str, Any] = json.loads(saved.read_text())
        return kept
    pixel = MOLECULES[name][1] * BOX / options.box
    found = measure(reconstruct(name, options), pixel)
    if saved:
        saved.write_text(json.dumps(found))
    return found


def smallest(case: dict[str, Any], codec: str) -> dict[str, Any] | None:
    """The smallest file of a codec that keeps the resolution."""
    kept = [
        row
        for row in case["files"]
        if row["codec"] == codec and row["angstroms"] <= COARSER * case["angstroms"]
    ]
    return min(kept, key=lambda row: row["bytes"], default=None)


def careful(case: dict[str, Any], codec: str) -> dict[str, Any] | None:
    """Of ours the file of the default quality; of others the smallest that keeps each shell."""
    ours = codec.startswith("laconic")
    kept = [
        row
        for row in case["files"]
        if row["codec"] == codec and (row["setting"] == QUALITY or not ours)
        if row["largest_fall"] <= FALL
    ]
    return min(kept, key=lambda row: row["bytes"], default=None)


def targets(cases: dict[str, Any]) -> list[dict[str, Any]]:
    """The targets beside what was measured."""
    rows = []
    plain = f"quality {QUALITY:g}, no shell more than {FALL:g} lower"
    for choose, words in ((smallest, "equal FSC.5"), (careful, plain)):
        for name, case in cases.items():
            for other, most in (("zfp", 0.5), ("gzip", 0.1)):
                pair = [choose(case, codec) for codec in ("laconic", other)]
                ratio = None if None in pair else round(pair[0]["bytes"] / pair[1]["bytes"], 3)
                rows.append(
                    {
                        "name": f"{name}, {words}: bytes over those of {other}",
                        "target": f"<= {most:g}",
                        "ours": ratio,
                        "met": ratio is not None and ratio <= most,
                    }
                )
    return rows


def draw(cases: dict[str, Any], out: Path) -> None:
    """Bytes against the wavelength at 0.5, over that of the map itself."""
    from matplotlib.figure import Figure

    from laconic.evaluation.report.figures import save_figure

    sheet = Figure(figsize=(10, 4), layout="constrained")
    panels = sheet.subplots(1, len(cases), squeeze=False)[0]
    for axes, (name, case) in zip(panels, cases.items(), strict=True):
        for codec in dict.fromkeys(row["codec"] for row in case["files"]):
            rows = [row for row in case["files"] if row["codec"] == codec]
            ratios = [row["angstroms"] / case["angstroms"] for row in rows]
            axes.plot(ratios, [row["bytes"] for row in rows], "o-", label=codec, linewidth=1.2)
        axes.axvline(1, color="0.7", linewidth=0.8)
        axes.set(title=name, yscale="log", ylabel="bytes", xlim=(0.9, 1.15))
        axes.set_xlabel("wavelength at FSC 0.5 against the truth, over the map's own")
    axes.legend(fontsize=7)
    save_figure(sheet, out.with_name("sizes"))


def main() -> None:
    """Reconstruct, compress, compare, write."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--data", type=Path, default=os.environ.get("LACONIC_DATA"))
    parser.add_argument("--images", type=int, default=20000)
    parser.add_argument("--box", type=int, default=BOX)
    parser.add_argument("--saved", type=Path, help="a folder for the maps")
    parser.add_argument("--out", type=Path, default=HERE / "results.json")
    options = parser.parse_args()
    if options.data is None:
        parser.error("set LACONIC_DATA, or give --data")
    options.data, started = Path(options.data), time.time()
    cases = {name: case(name, options) for name in MOLECULES}
    draw(cases, options.out)
    chosen = {
        name: {
            codec: {
                "equal FSC.5": smallest(case, codec),
                "no shell lower": careful(case, codec),
            }
            for codec in dict.fromkeys(row["codec"] for row in case["files"])
        }
        for name, case in cases.items()
    }
    run = describe_run(
        "python experiments/imaging/compression/run.py",
        started,
        HERE.parents[2],
        images=options.images,
        box=options.box,
        snr=SNR,
    )
    document = {
        "title": "Imaging: compression of maps",
        "run": run,
        "targets": targets(cases),
        "chosen": chosen,
        "cases": cases,
    }
    options.out.write_text(json.dumps(document, indent=1) + "\n")


if __name__ == "__main__":
    main()
