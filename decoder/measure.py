"""Measures this decoder beside the main package: `python decoder/measure.py FILE.lac...`.

Files of pictures, for instance of `laconic compress kodim05.png --quality 50`. Times are of each
process's own processor, start and weights included, so that other work on the machine counts
little. Run it twice: the first run compiles the main package's loops and decodes weights.
"""

import json
import platform
import resource
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

HERE = Path(__file__).parent
LOSSY_SECONDS, START_SECONDS, MOST_LINES = 4.0, 0.5, 1000
OURS = """import sys; sys.path.insert(0, {path!r})
from laconic_decoder.cli import main
sys.exit(main({arguments!r}))"""
MAIN = """import sys
sys.argv = ["laconic", "decompress", *{arguments!r}, "--threads", "1"]
from laconic.cli import main
main()"""
START = """import sys; sys.path.insert(0, {path!r})
import laconic_decoder.lossless, laconic_decoder.image, laconic_decoder.cli"""


def processor_seconds(code: str) -> float:
    """Processor time of a new Python process."""
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    subprocess.run([sys.executable, "-c", code], check=True, stdout=subprocess.DEVNULL)
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    return round(after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime, 3)


def measure(file: Path, out: Path) -> dict[str, Any]:
    """Seconds of both commands for one file, and by how much their pictures differ."""
    import numpy as np
    from PIL import Image

    pictures, row = [], {"file": file.name, "bytes": file.stat().st_size}
    for name, code in (("ours_s", OURS), ("main_s", MAIN)):
        arguments = [str(file), "-o", str(out), "--force"]
        row[name] = processor_seconds(code.format(path=str(HERE), arguments=arguments))
        with Image.open(out) as image:
            pictures.append(np.asarray(image).astype(int))
            row |= {"width": image.width, "height": image.height}
    row["ratio"] = round(row["ours_s"] / row["main_s"], 2)
    row["largest_difference"] = int(np.abs(pictures[0] - pictures[1]).max())
    return row


def main() -> None:
    """Measure, and write results.json."""
    begin = time.time()
    with tempfile.TemporaryDirectory() as folder:
        rows = [measure(Path(name), Path(folder) / "out.png") for name in sys.argv[1:]]
    start = min(processor_seconds(START.format(path=str(HERE))) for _ in range(3))
    modules = sorted((HERE / "laconic_decoder").glob("*.py"))
    lossy = max(row["ours_s"] for row in rows if row["width"] * row["height"] == 768 * 512)
    lines = sum(len(path.read_text().splitlines()) for path in modules)
    values = (
        ("second decoder: 768x512, processor seconds", LOSSY_SECONDS, lossy),
        ("second decoder: start, processor seconds", START_SECONDS, start),
        ("second decoder: lines of source", MOST_LINES, lines),
    )
    commit = subprocess.run(
        ["git", "rev-parse", "--short", "HEAD"], capture_output=True, text=True, check=False
    )
    record = {
        "title": "The second decoder",
        "command": " ".join(["python decoder/measure.py", *(row["file"] for row in rows)]),
        "commit": commit.stdout.strip(),
        "machine": f"{platform.machine()}, {platform.system()}, Python {platform.python_version()}",
        "files": rows,
        "lines": lines,
        "source_bytes": sum(path.stat().st_size for path in modules),
        "targets": [
            {"name": name, "target": f"at most {most:g}", "ours": ours, "met": ours <= most}
            for name, most, ours in values
        ],
        "wall_s": round(time.time() - begin),
    }
    (HERE / "results.json").write_text(json.dumps(record, indent=2) + "\n")


if __name__ == "__main__":
    main()
