"""A corpus under attack, and what an engine costs: pictures a second, and nothing lost or twice.

    python experiments/corpus/run.py [--pictures 2000] [--engines local,ray] [--kill-seconds 20]

Crops of 64x64 pixels of photographs in the data folder are compressed losslessly in one process,
one after another: the reference. Then each engine does the same while a worker is killed every
`--kill-seconds` and the driver twice; the driver is started again each time. Files, manifest and
names are compared with the reference. Rates are processor seconds of whole process trees, without
attacks, by which two corpora of different sizes differ. Stages that are in results.json are not
repeated.
"""

import argparse
import json
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from random import Random
from typing import Any

import psutil
from PIL import Image

from laconic.corpus.engines import make
from laconic.corpus.loop import run
from laconic.corpus.plan import opened
from laconic.data.datasets import data_root
from laconic.data.folders import list_images
from laconic.evaluation.report.provenance import describe_run
from laconic.paths import find_below

HERE = Path(__file__).resolve().parent
REPOSITORY = HERE.parents[1]
RESULTS = HERE / "results.json"
SIDE = 64
SEED = 23
COMMAND = (sys.executable, "-c", "from laconic.cli import main; main()", "corpus", "compress")
OPTIONS = ("--lossless", "--effort", "0")
MOST_OVERHEAD_PERCENT = 10.0
DRIVER_DEATHS = 2
POLL_SECONDS = 1.0
PHOTOGRAPHS = (1, 5)
PHOTOGRAPH_MEGAPIXELS = 0.393216


def make_source(folder: Path, count: int) -> None:
    """Crops of photographs at fixed random places, in folders of 100."""
    source, files = Random(SEED), list_images(data_root() / "kodak")
    for number in range(count):
        path = folder / f"{number // 100:03d}" / f"{number:05d}.png"
        if path.exists():
            continue
        path.parent.mkdir(parents=True, exist_ok=True)
        with Image.open(files[number % len(files)]) as image:
            x, y = source.randrange(image.width - SIDE), source.randrange(image.height - SIDE)
            image.convert("RGB").crop((x, y, x + SIDE, y + SIDE)).save(path)


def start(source: Path, target: Path, *options: str) -> subprocess.Popen[str]:
    """A driver in a session of its own."""
    words = [*COMMAND, str(source), str(target), *OPTIONS, *options, "--json"]
    pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE}
    return subprocess.Popen(words, text=True, start_new_session=True, **pipes)


def workers(driver: subprocess.Popen[str], engine: str) -> list[psutil.Process]:
    """The processes that do units; of Ray, those that have begun one."""
    if engine == "ray":
        found = [one for one in ray_processes() if words_of(one).startswith("ray::_run")]
    else:
        try:
            below = psutil.Process(driver.pid).children(recursive=True)
        except psutil.NoSuchProcess:
            return []
        # The server that they are forked from has the same words.
        forked = [one for one in below if "forkserver" in words_of(one)]
        servers = {one.pid for one in forked if one.ppid() == driver.pid}
        found = [one for one in forked if one.pid not in servers]
    return sorted(found, key=lambda process: process.pid)


def ray_processes() -> list[psutil.Process]:
    """Ray's servers and workers on this machine."""
    marks = ("ray::", "/ray/core/src/", "/ray/dashboard/", "/ray/_private/", "/ray/autoscaler/")
    return [one for one in psutil.process_iter() if any(mark in words_of(one) for mark in marks)]


def words_of(process: psutil.Process) -> str:
    """The command of a process, or nothing where it has ended."""
    try:
        return " ".join(process.cmdline())
    except psutil.Error:
        return ""


def attacked(
    source: Path,
    target: Path,
    engine: str,
    kill_seconds: float,
    count: int,
    address: str | None = None,
) -> dict[str, Any]:
    """One corpus with deaths of workers and of the driver."""
    shutil.rmtree(target, ignore_errors=True)
    choice, begun, kills, deaths, runs = Random(SEED), time.time(), 0, 0, []
    while True:
        place = ["--address", address] if address else []
        driver = start(source, target, "--engine", engine, "--jobs", "2", *place)
        struck = time.monotonic()
        while driver.poll() is None:
            time.sleep(POLL_SECONDS)
            if deaths < DRIVER_DEATHS and count_files(target) >= count * (deaths + 1) / 3:
                os.kill(driver.pid, signal.SIGKILL)
                deaths += 1
                break
            if time.monotonic() - struck >= kill_seconds and (there := workers(driver, engine)):
                choice.choice(there).kill()
                kills, struck = kills + 1, time.monotonic()
        out, error = driver.communicate()
        ended = driver.returncode in (0, 1) and out.strip().startswith("{")
        runs.append(json.loads(out) if ended else {"status": driver.returncode})
        if driver.returncode != -signal.SIGKILL:
            break
    last = runs[-1]
    return {
        "seconds": round(time.time() - begun, 1),
        "kill_seconds": kill_seconds,
        "worker_deaths": kills,
        "driver_deaths": deaths,
        "status": driver.returncode,
        "message": error.strip()[-300:],
        "retried_by_the_last_run": last.get("retried"),
        "done_before_the_last_run": last.get("before"),
    }


def count_files(folder: Path) -> int:
    """The .lac files below a folder."""
    return sum(name.endswith(".lac") for name in find_below(folder))


def compare(reference: Path, target: Path) -> dict[str, int]:
    """Files that differ, are missing or too many; names that the manifest has twice or lacks."""
    names = {name for name in find_below(reference) if name.endswith(".lac")}
    found = set(find_below(target))
    listed = [
        json.loads(line)["name"]
        for name in sorted(found) if name.endswith(".jsonl")
        for line in (target / name).read_text().splitlines()
    ]  # fmt: skip
    files = {name for name in found if name.endswith(".lac")}
    hidden = list(target.rglob(".laconic-*"))
    return {
        "files": len(files),
        "missing": len(names - files),
        "too_many": len(files - names) + len(hidden),
        "different": sum(
            (reference / name).read_bytes() != (target / name).read_bytes()
            for name in names & files
        ),
        "records": len(listed),
        "records_twice": len(listed) - len(set(listed)),
        "records_missing": len(names - {f"{name}.lac" for name in listed}),
    }


def tree_seconds(engine: str) -> float:
    """Processor seconds of this process, of all below it, and of Ray where it is the engine."""
    here, total = psutil.Process(), 0.0
    others = ray_processes() if engine == "ray" else []
    for process in {here, *here.children(recursive=True), *others}:
        try:
            times = process.cpu_times()
        except psutil.Error:
            continue
        total += times.user + times.system
    return total


def per_picture(
    sources: Sequence[Path],
    target: Path,
    engine: str,
    jobs: int,
    options: Mapping[str, Any],
    address: str | None = None,
) -> dict[str, float]:
    """Processor seconds of a picture, engine included.

    That is what a larger corpus takes more than a smaller one, by the pictures that it has more:
    the start of processes does not count, and nothing that an engine does ahead is left out.
    """
    spent = [_spent(source, target, engine, jobs, options, address) for source in sources]
    (few, start), (many, end) = spent
    return {"pictures": many - few, "processor_seconds": round((end - start) / (many - few), 5)}


def _spent(
    source: Path,
    target: Path,
    engine: str,
    jobs: int,
    options: Mapping[str, Any],
    address: str | None,
) -> tuple[int, float]:
    """The pictures of a corpus, and processor seconds until the last was done."""
    shutil.rmtree(target, ignore_errors=True)
    before, ended = tree_seconds(engine), 0.0
    with opened("compress", source, target, options) as plan:

        def report(done: int, total: int, failed: int) -> None:
            nonlocal ended
            if done == total:
                ended = tree_seconds(engine)

        summary = run(plan, make(engine, jobs, address), options | {"threads": 1}, report=report)
    if summary.failed or not ended:
        raise SystemExit(f"{engine}: {summary.failed or 'no pictures'}")
    return len(plan.units), ended - before


def photographs(folder: Path, count: int) -> Path:
    """A folder of the data's first photographs, 768x512."""
    folder.mkdir(exist_ok=True)
    for path in list_images(data_root() / "kodak")[:count]:
        shutil.copy(path, folder / path.name)
    return folder


def read_options() -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--pictures", type=int, default=2000)
    parser.add_argument("--engines", default="local,ray")
    parser.add_argument("--kill-seconds", type=float, default=20.0)
    parser.add_argument(
        "--measured", type=int, default=200, help="pictures of the smaller corpus of a rate"
    )
    parser.add_argument("--results", type=Path, default=RESULTS)
    parser.add_argument("--address", help="of a Ray cluster; without one each run starts Ray")
    parser.add_argument("--folder", type=Path, default=REPOSITORY / "runs" / "corpus")
    return parser.parse_args()


def main() -> None:
    """Do the stages that are not in results.json, and write it after each."""
    options = read_options()
    started, count = time.time(), options.pictures
    results = options.results
    stages = json.loads(results.read_text())["stages"] if results.exists() else {}
    if stages.get("pictures") != count:
        stages = {"pictures": count}
    options.folder.mkdir(parents=True, exist_ok=True)
    root = options.folder / str(count)
    source, reference = root / "in", root / "reference"
    make_source(source, count)
    command = f"python experiments/corpus/run.py --pictures {count}"

    def stage(name: str, work: Any, *arguments: Any) -> Any:
        if name not in stages:
            stages[name] = work(*arguments)
            write(results, stages, command, started)
            print(name, json.dumps(stages[name]), flush=True)
        return stages[name]

    stage("serial", serial, source, reference)
    for engine in options.engines.split(","):
        target, place = root / engine, options.address if engine == "ray" else None
        attack = (source, target, engine, options.kill_seconds, count, place)
        stage(f"attacked_{engine}", attacked, *attack)
        stages[f"compared_{engine}"] = compare(reference, target)
    crops = root / "measured"
    make_source(crops, options.measured)
    exact = {"lossless": True, "effort": 0, "psnr": True}
    names = dict.fromkeys(["here", "local", *options.engines.split(",")])
    for engine in names:
        name, jobs = ("local", 1) if engine == "here" else (engine, 2)
        at = options.address if engine == "ray" else None
        sources = (crops, source)
        stage(f"seconds_{engine}", per_picture, sources, root / "out", name, jobs, exact, at)
    lossy = {"quality": 50, "psnr": False}
    places = [photographs(root / f"photographs-{count}", count) for count in PHOTOGRAPHS]
    stage("photographs", per_picture, places, root / "out", "local", 1, lossy)
    write(results, stages, command, started)


def serial(source: Path, reference: Path) -> dict[str, Any]:
    """The reference, one picture after another in one process."""
    begun = time.time()
    driver = start(source, reference, "--jobs", "1")
    out, error = driver.communicate()
    if driver.returncode:
        raise SystemExit(error)
    return {"seconds": round(time.time() - begun, 1), "failed": len(json.loads(out)["failed"])}


def write(results: Path, stages: dict[str, Any], command: str, started: float) -> None:
    """Write results.json."""
    document = {
        "title": f"Corpora of {stages['pictures']:,} pictures: attacks, and the cost of an engine",
        "run": describe_run(command, started, REPOSITORY, seeds=[SEED]),
        "targets": targets(stages),
        "stages": stages,
    }
    results.parent.mkdir(parents=True, exist_ok=True)
    results.write_text(json.dumps(document, indent=1) + "\n")


def targets(stages: dict[str, Any]) -> list[dict[str, Any]]:
    """What was required, beside what was found."""
    count, rows = stages["pictures"], []
    for engine in ("local", "ray"):
        compared, found = stages.get(f"compared_{engine}"), stages.get(f"attacked_{engine}")
        if not compared or not found:
            continue
        wrong = {name: value for name, value in compared.items()
                 if name not in ("files", "records") and value}  # fmt: skip
        deaths = f"{found['worker_deaths']} workers, {found['driver_deaths']} drivers killed"
        rows.append({
            "name": f"{count:,} pictures, engine {engine}, {deaths}: identical, none twice or lost",
            "target": "0 wrong",
            "ours": ", ".join(f"{k} {v}" for k, v in wrong.items()) or "0 wrong",
            "met": not wrong and compared["files"] == count == compared["records"]
            and found["status"] == 0 and found["driver_deaths"] == DRIVER_DEATHS,
        })  # fmt: skip
    alone, local, ray, whole = (
        stages.get(name, {}).get("processor_seconds")
        for name in ("seconds_here", "seconds_local", "seconds_ray", "photographs")
    )
    if local and ray and whole:
        extra = 1000 * (ray - local)
        rows.append({
            "name": "Ray beside the local pool, of a photograph's processor time, percent "
            f"({extra:.1f} ms a picture)",
            "target": f"<= {MOST_OVERHEAD_PERCENT:g}", "ours": round(extra / 10 / whole, 1),
            "met": extra / 10 / whole <= MOST_OVERHEAD_PERCENT,
        })  # fmt: skip
        rows.append({
            "name": "Ray beside the local pool, of the smallest unit (64x64, lossless, effort 0), "
            "percent",
            "target": f"<= {MOST_OVERHEAD_PERCENT:g}", "ours": round(100 * (ray / local - 1), 1),
            "met": ray <= (1 + MOST_OVERHEAD_PERCENT / 100) * local,
        })  # fmt: skip
    rates = (
        ("64x64 crops, lossless effort 0, one process", alone, 2),
        ("768x512 photographs, lossy quality 50, one process", whole, 3),
    )
    for name, seconds, digits in rates:
        if seconds:
            rows.append({
                "name": f"{name}: pictures a second and core", "target": "stated",
                "ours": round(1 / seconds, digits), "met": True,
            })  # fmt: skip
    return rows


if __name__ == "__main__":
    main()
