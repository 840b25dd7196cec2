"""A corpus under attack, and what an engine costs: pictures a second, and nothing lost or twice.

    python experiments/corpus/run.py [--pictures 2000] [--engines local,ray] [--kill-seconds 20]

Crops of 64x64 pixels of photographs in the data folder are compressed losslessly in one process,
one after another: the reference. Then each engine does the same while a worker is killed every
`--kill-seconds` and the driver twice; the driver is started again each time. Files, manifest and
names are compared with the reference. Rates are processor seconds of whole process trees, without
attacks, on a part of the pictures. Stages that are in results.json are not repeated.
"""

import argparse
import json
import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path
from random import Random
from typing import Any

import psutil
from PIL import Image

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
    try:
        below = psutil.Process(driver.pid).children(recursive=True)
    except psutil.NoSuchProcess:
        return []
    found = []
    for process in below:
        try:
            line = " ".join(process.cmdline())
        except psutil.Error:
            continue
        if engine == "ray":
            works = line.startswith("ray::_run")
        else:  # The server that they are forked from has the same words.
            works = "forkserver" in line and process.ppid() != driver.pid
        if works:
            found.append(process)
    return sorted(found, key=lambda process: process.pid)


def attacked(
    source: Path, target: Path, engine: str, kill_seconds: float, count: int
) -> dict[str, Any]:
    """One corpus with deaths of workers and of the driver."""
    shutil.rmtree(target, ignore_errors=True)
    choice, begun, kills, deaths, runs = Random(SEED), time.time(), 0, 0, []
    while True:
        driver = start(source, target, "--engine", engine, "--jobs", "2")
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
        runs.append(json.loads(out) if out.strip() else {"status": driver.returncode})
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


def measured(source: Path, target: Path, *options: str) -> dict[str, float]:
    """Processor seconds of a driver and all its processes, and the loop's own seconds."""
    shutil.rmtree(target, ignore_errors=True)
    driver, seen = start(source, target, *options), dict[int, float]()
    while driver.poll() is None:
        try:
            tree = [psutil.Process(driver.pid)]
            tree += tree[0].children(recursive=True)
            for process in tree:
                times = process.cpu_times()
                seen[process.pid] = times.user + times.system
        except psutil.Error:
            pass
        time.sleep(0.05)
    summary = json.loads(driver.communicate()[0])
    return {
        "processor_seconds": round(sum(seen.values()), 2),
        "loop_seconds": round(summary["seconds"], 2),
    }


def per_picture(
    folder: Path, few: Path, many: Path, options: tuple[str, ...], rounds: int
) -> float:
    """Processor seconds of a picture: the difference of two sizes, so that starting is left out."""
    found, counts = [], [len(list_all(one)) for one in (few, many)]
    for number in range(rounds):
        short, long = (
            measured(one, folder / f"measured-{number}", *options)["processor_seconds"]
            for one in (few, many)
        )
        found.append((long - short) / (counts[1] - counts[0]))
    return sorted(found)[len(found) // 2]


def list_all(folder: Path) -> list[str]:
    """The names of the pictures in a folder."""
    return [name for name in find_below(folder) if name.endswith(".png")]


def photograph_rate(folder: Path) -> dict[str, float]:
    """Processor seconds of a photograph of 768x512 pixels, lossy, without measuring PSNR."""
    few, many = folder / "photographs-1", folder / "photographs-5"
    for place, count in ((few, 1), (many, 5)):
        place.mkdir(exist_ok=True)
        for path in list_images(data_root() / "kodak")[:count]:
            shutil.copy(path, place / path.name)
    global OPTIONS
    kept, OPTIONS = OPTIONS, ("--quality", "50", "--no-psnr")
    try:
        seconds = per_picture(folder, few, many, ("--jobs", "1"), 1)
    finally:
        OPTIONS = kept
    return {"processor_seconds_per_picture": round(seconds, 3), "megapixels": 0.393216}


def main() -> None:
    """Do the stages that are not in results.json, and write it after each."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--pictures", type=int, default=2000)
    parser.add_argument("--engines", default="local,ray")
    parser.add_argument("--kill-seconds", type=float, default=20.0)
    parser.add_argument("--measured", type=int, default=250, help="pictures of a rate")
    parser.add_argument("--rounds", type=int, default=3, help="of a rate; the median counts")
    parser.add_argument("--folder", type=Path, default=REPOSITORY / "runs" / "corpus")
    options = parser.parse_args()
    started, count = time.time(), options.pictures
    stages = json.loads(RESULTS.read_text())["stages"] if RESULTS.exists() else {}
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
            write(stages, command, started)
            print(name, json.dumps(stages[name]), flush=True)
        return stages[name]

    stage("serial", serial, source, reference)
    for engine in options.engines.split(","):
        target = root / engine
        stage(f"attacked_{engine}", attacked, source, target, engine, options.kill_seconds, count)
        stages[f"compared_{engine}"] = compare(reference, target)
    few, many = root / "few", root / "many"
    make_source(few, options.measured // 5)
    make_source(many, options.measured)
    for engine in options.engines.split(","):
        words = ("--engine", engine, "--jobs", "2")
        stage(f"seconds_{engine}", per_picture, root, few, many, words, options.rounds)
    stage("photographs", photograph_rate, root)
    write(stages, command, started)


def serial(source: Path, reference: Path) -> dict[str, Any]:
    """The reference, one picture after another in one process."""
    begun = time.time()
    driver = start(source, reference, "--jobs", "1")
    out, error = driver.communicate()
    if driver.returncode:
        raise SystemExit(error)
    return {"seconds": round(time.time() - begun, 1), "failed": len(json.loads(out)["failed"])}


def write(stages: dict[str, Any], command: str, started: float) -> None:
    """Write results.json."""
    document = {
        "title": "Corpora: attacks, and the cost of an engine",
        "run": describe_run(command, started, REPOSITORY, seeds=[SEED]),
        "targets": targets(stages),
        "stages": stages,
    }
    RESULTS.write_text(json.dumps(document, indent=1) + "\n")


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
    local, ray = stages.get("seconds_local"), stages.get("seconds_ray")
    if local and ray:
        overhead = 100 * (ray / local - 1)
        rows.append({
            "name": "overhead of Ray over the local pool, processor time a picture, percent",
            "target": f"<= {MOST_OVERHEAD_PERCENT:g}", "ours": round(overhead, 1),
            "met": overhead <= MOST_OVERHEAD_PERCENT,
        })  # fmt: skip
    if local:
        rows.append({
            "name": "64x64 crops, lossless effort 0, pictures a second and core, local",
            "target": "stated", "ours": round(1 / local, 2), "met": True,
        })  # fmt: skip
    if found := stages.get("photographs"):
        rows.append({
            "name": "768x512 photographs, lossy quality 50, pictures a second and core",
            "target": "stated", "ours": round(1 / found["processor_seconds_per_picture"], 3),
            "met": True,
        })  # fmt: skip
    return rows


if __name__ == "__main__":
    main()
