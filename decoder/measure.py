"""Measures this decoder beside the main package, in one run: `python decoder/measure.py`.

It takes about a minute of processor time.

Both decode the same photograph of 768 x 512 pixels (a part of the embedded sample, enlarged) on one
thread. Times are of the process's own processor, so that other work on the machine counts little.
"""

import json
import platform
import resource
import subprocess
import sys
import tempfile
import time
from importlib import resources
from pathlib import Path
from typing import Any

from PIL import Image

HERE = Path(__file__).parent
SIZE = (768, 512)
REPEATS = 1
TARGETS = {"lossy picture, s": 4.0, "start-up, s": 0.5}
OURS = """import sys; sys.path.insert(0, {path!r})
from laconic_decoder.cli import main
sys.exit(main({arguments!r}))"""
MAIN = """import sys
sys.argv = ["laconic", "decompress", *{arguments!r}, "--threads", "1"]
from laconic.cli import main
main()"""


def processor_seconds(code: str) -> float:
    """Least processor time of a new Python process over some runs."""
    times = []
    for _ in range(REPEATS):
        before = resource.getrusage(resource.RUSAGE_CHILDREN)
        subprocess.run([sys.executable, "-c", code], check=True, stdout=subprocess.DEVNULL)
        after = resource.getrusage(resource.RUSAGE_CHILDREN)
        times.append(after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime)
    return round(min(times), 3)


def decoders(file: Path, out: Path) -> dict[str, float]:
    """Seconds of both commands for one file, weights and start-up included."""
    arguments = [str(file), "-o", str(out), "--force"]
    ours = processor_seconds(OURS.format(path=str(HERE), arguments=arguments))
    main = processor_seconds(MAIN.format(arguments=arguments))
    return {"ours": ours, "main": main, "ratio": round(ours / main, 2)}


def photograph(size: tuple[int, int]) -> Image.Image:
    """The embedded sample at another size."""
    source = resources.files("laconic.pretrained") / "sample.png"
    with resources.as_file(source) as path, Image.open(path) as image:
        return image.convert("RGB").resize(size, Image.Resampling.LANCZOS)


def measure(folder: Path) -> dict[str, Any]:
    """All figures."""
    import laconic

    rows: dict[str, Any] = {}
    warm = folder / "warm.lac"  # Afterwards compiled loops and decoded weights are on disk.
    warm.write_bytes(laconic.compress(photograph((64, 64)), quality=50))
    decoders(warm, folder / "out.png")
    for quality in (50, 90):
        file = folder / f"{quality}.lac"
        file.write_bytes(laconic.compress(photograph(SIZE), quality=quality))
        rows[f"lossy, quality {quality}"] = {"bytes": file.stat().st_size}
        rows[f"lossy, quality {quality}"] |= decoders(file, folder / "out.png")
    file = folder / "lossless.lac"
    file.write_bytes(laconic.compress(photograph((192, 128)), lossless=True))
    rows["lossless, 192 x 128"] = {"bytes": file.stat().st_size}
    rows["lossless, 192 x 128"] |= decoders(file, folder / "out.png")
    start = processor_seconds(OURS.format(path=str(HERE), arguments=[]).replace("main([])", "0"))
    modules = sorted((HERE / "laconic_decoder").glob("*.py"))
    lines = sum(len(path.read_text().splitlines()) for path in modules)
    source = sum(path.stat().st_size for path in modules)
    lossy = max(row["ours"] for name, row in rows.items() if name.startswith("lossy"))
    values = {"lossy picture, s": lossy, "start-up, s": start}
    targets = [
        {"name": name, "target": target, "ours": values[name], "met": values[name] <= target}
        for name, target in TARGETS.items()
    ]
    return {"files": rows, "lines": lines, "source_bytes": source, "targets": targets}


def main() -> None:
    """Measure, and write results.json."""
    begin = time.time()
    with tempfile.TemporaryDirectory() as folder:
        found = measure(Path(folder))
    commit = subprocess.run(
        ["git", "rev-parse", "--short", "HEAD"], capture_output=True, text=True, check=False
    )
    record = {
        "command": "python decoder/measure.py",
        "commit": commit.stdout.strip(),
        "machine": f"{platform.machine()}, {platform.system()}, Python {platform.python_version()}",
        "unit": "processor seconds of one thread, process start and weights included",
        **found,
        "wall_s": round(time.time() - begin),
    }
    (HERE / "results.json").write_text(json.dumps(record, indent=2) + "\n")


if __name__ == "__main__":
    main()
