"""Memory, stopped work and weight of `laconic studio`, in a real browser; draws docs/studio.png.

    python experiments/studio/run.py [--pictures 20] [--side 256] [--draw]

Pictures are parts of the embedded sample photograph. Memory is the resident memory of each process,
and what the page's scripts keep after a collection; growth counts from the fifth picture, once
all is loaded.
"""

import argparse
import io
import json
import re
import subprocess
import sys
import tempfile
import time
from importlib import resources
from pathlib import Path
from typing import Any

import psutil
from PIL import Image

from laconic.evaluation.report.provenance import describe_run
from laconic.testing.browser import Browser, Page

HERE = Path(__file__).resolve().parent
DRAWING = HERE.parents[1] / "docs" / "studio.png"
MIB = 1 << 20
WARM = 5
IDLE = "document.body.dataset.busy === 'false'"
SHOWN = "!document.getElementById('save-lac').disabled"
COMMAND = [sys.executable, "-c", "from laconic.cli import main; main()"]
MOST_DRAWING_BYTES = 150_000


def sample() -> Image.Image:
    """The embedded photograph."""
    with resources.as_file(resources.files("laconic.pretrained") / "sample.png") as path:
        return Image.open(path).convert("RGB")


def parts(folder: Path, count: int, side: int) -> list[Path]:
    """So many parts of the photograph, each in a file."""
    whole, paths = sample(), []
    for number in range(count):
        left, top = 17 * number % (whole.width - side), 7 * number % (whole.height - side)
        path = folder / f"{number}.png"
        whole.crop((left, top, left + side, top + side)).save(path)
        paths.append(path)
    return paths


def choose(page: Page, path: Path) -> float:
    """Open a picture; the seconds until its compressed version is shown."""
    page.run("document.getElementById('save-lac').disabled = true")
    started = time.monotonic()
    page.choose_files("#file", [path])
    page.wait(SHOWN, 300)
    return time.monotonic() - started


def memory(page: Page, server: psutil.Process) -> dict[str, float]:
    """MiB of the server, of its workers together, and of the page's scripts."""
    page.call("HeapProfiler.collectGarbage")
    workers = sum(child.memory_info().rss for child in server.children())
    return {
        "server": server.memory_info().rss / MIB,
        "worker": workers / MIB,
        "page": page.call("Runtime.getHeapUsage")["usedSize"] / MIB,
    }


def show_pictures(page: Page, server: psutil.Process, paths: list[Path]) -> dict[str, Any]:
    """Open one after the other; memory after each and the seconds."""
    seconds, used = [], []
    for path in paths:
        seconds.append(choose(page, path))
        page.wait(IDLE, 600)
        used.append(memory(page, server))
    growth = {key: round(used[-1][key] - used[WARM - 1][key], 2) for key in used[-1]}
    return {"seconds": [round(one, 2) for one in seconds], "memory": used, "growth": growth}


def busy_seconds(process: psutil.Process) -> float:
    """Processor time that the workers take in half a second."""
    before = [sum(child.cpu_times()[:2]) for child in process.children()]
    time.sleep(0.5)
    after = [sum(child.cpu_times()[:2]) for child in process.children()]
    return sum(after) - sum(before)


def stop(page: Page, server: psutil.Process) -> float:
    """Begin a minute of work, press Escape; processor seconds that workers take after that."""
    page.slide("#effort", 9)
    page.wait("document.getElementById('progress').value > 0.02", 300)
    before = sum(sum(child.cpu_times()[:2]) for child in server.children())
    page.key("Escape")
    while busy_seconds(server) > 0.02:
        pass
    left = sum(sum(child.cpu_times()[:2]) for child in server.children()) - before
    page.slide("#effort", 0)
    page.wait(IDLE, 300)
    return left


def draw(page: Page, folder: Path) -> None:
    """The page with a photograph beside JPEG, in a file of at most 150 kB."""
    path = folder / "photo.png"
    sample().crop((60, 0, 600, 400)).save(path)
    page.resize(1280, 880)
    choose(page, path)
    page.slide("#quality", 30)
    page.wait(IDLE, 600)
    page.click('input[value="jpeg"] + span')
    page.wait("document.getElementById('left-tag').innerText.startsWith('JPEG ·')")
    shown = Image.open(io.BytesIO(page.screenshot())).convert("RGB")
    for colours in (256, 192, 128, 96, 64):
        buffer = io.BytesIO()
        small = shown.resize((960, 660), Image.Resampling.LANCZOS)
        small.quantize(colours, dither=Image.Dither.NONE).save(buffer, "PNG", optimize=True)
        if buffer.tell() <= MOST_DRAWING_BYTES:
            break
    DRAWING.write_bytes(buffer.getvalue())


def target(name: str, bound: float, unit: str, ours: float) -> dict[str, Any]:
    """A row of the table of targets."""
    return {"name": name, "target": f"at most {bound:g}{unit}", "ours": ours, "met": ours <= bound}


def main() -> None:
    """Measure all, and write results.json."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--pictures", type=int, default=20)
    parser.add_argument("--side", type=int, default=256)
    parser.add_argument("--draw", action="store_true", help="draw docs/studio.png alone")
    wanted = parser.parse_args()
    started = time.time()
    server = subprocess.Popen(
        [*COMMAND, "studio", "--port", "0", "--jobs", "1"], stdout=subprocess.PIPE, text=True
    )
    assert server.stdout is not None
    found = re.search(r"http\S+", server.stdout.readline())
    assert found is not None
    address, ready = found[0], round(time.time() - started, 2)
    process = psutil.Process(server.pid)
    try:
        with tempfile.TemporaryDirectory() as name, Browser(Path(name)) as browser:
            page = browser.open(address)
            page.wait("document.body.dataset.ready", 300)
            if wanted.draw:
                draw(page, Path(name))
                return
            paths = parts(Path(name), wanted.pictures, wanted.side)
            shown = show_pictures(page, process, paths)
            left = round(stop(page, process), 2)
            draw(page, Path(name))
            elsewhere = [one for one in page.requests if not one.startswith((address, "blob:"))]
            problems = page.problems
    finally:
        server.terminate()
        server.wait(30)
    weight = sum(
        len(entry.read_bytes())
        for entry in resources.files("laconic.studio").joinpath("static").iterdir()
    )
    growth = shown["growth"]
    between = f"between the 5th and the {wanted.pictures}th picture"
    document = {
        "title": "The studio in a browser",
        "run": describe_run("python experiments/studio/run.py", started, HERE.parents[1], seeds=[]),
        "ready_seconds": ready,
        **shown,
        "problems": problems,
        "targets": [
            target(f"memory of the server, growth {between}, MiB", 16, " MiB", growth["server"]),
            target(f"memory of the worker, growth {between}, MiB", 32, " MiB", growth["worker"]),
            target(f"memory of the page, growth {between}, MiB", 2, " MiB", growth["page"]),
            target("processor seconds that cancelled work still takes", 1.5, " s", left),
            target("addresses elsewhere that the page requests", 0, "", len(elsewhere)),
            target("bytes of the page", 100_000, "", weight),
        ],
    }
    (HERE / "results.json").write_text(json.dumps(document, indent=1) + "\n")


if __name__ == "__main__":
    main()
