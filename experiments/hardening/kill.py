"""SIGKILL at random moments of commands that write: nothing half written, nothing lost.

    python experiments/hardening/kill.py [--moments 200]

Each command runs in a child that is forked from a process with all libraries loaded, so that the
moments fall into the work and not into the start of Python. Half of the moments are times, drawn
evenly over the command's duration; the others are numbers of an operation on files (open for
writing, rename, link, remove, make a folder), drawn evenly, before which the child kills itself.
After each death all inputs must be as before, and each output missing or complete; then the same
command, run again, must end with status 0 and the same files as without a death. Moments that are
in results.json are not repeated.
"""

import argparse
import contextlib
import json
import os
import shutil
import signal
import sys
import tempfile
import time
import traceback
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path
from random import Random
from typing import Any

import numpy as np
import torch
from PIL import Image
from safetensors import SafetensorError, safe_open
from safetensors.numpy import save_file

HERE = Path(__file__).resolve().parent
REPOSITORY = HERE.parents[1]
RESULTS = HERE / "results.json"
SEED = 23
SAVED_MOMENTS = 10
WRITES = os.O_WRONLY | os.O_RDWR | os.O_CREAT
EVENTS = ("os.rename", "os.link", "os.remove", "os.mkdir", "os.truncate")
LIMIT_SECONDS = 300
DAMAGED = "damaged"
RECIPE = """
model: {name: dense, likelihood: bernoulli, side: 8, latents: 3, hidden: [16], planes: 2, width: 4}
data: {kind: binary, folder: small, split: train, batch: 4}
loop: {steps: 12, log_steps: 2, checkpoint_minutes: 0.00001, precision: 32-true}
folder: run
"""


@dataclass(frozen=True)
class Subject:
    """A command under attack, in a folder of its own.

    Attributes:
        first: its words.
        again: the words that repair or repeat it after a death.
        volatile: endings of files whose content may differ, or end early: logs.
    """

    first: Sequence[str]
    again: Sequence[str]
    volatile: tuple[str, ...] = ()


CORPUS = ("corpus", "compress", "in", "out", "--lossless", "--effort", "0", "--jobs", "1")
SUBJECTS = {
    "compress": Subject(
        ("compress", "in/a.png", "-o", "out.lac", "--force"),
        ("compress", "in/a.png", "-o", "out.lac", "--force"),
    ),
    "archive": Subject(
        ("compress", "in", "-o", "out.lac", "--lossless", "--effort", "0", "--force"),
        ("compress", "in", "-o", "out.lac", "--lossless", "--effort", "0", "--force"),
    ),
    "shrink": Subject(
        ("shrink", "weights.safetensors", "-o", "out.lac", "--force"),
        ("shrink", "weights.safetensors", "-o", "out.lac", "--force"),
    ),
    "train": Subject(
        ("train", "recipe.yaml", "--data", "data"),
        ("train", "recipe.yaml", "--data", "data", "--resume"),
        (".jsonl", ".csv", ".log", "tfevents", ".owner"),
    ),
    "corpus": Subject(CORPUS, CORPUS, (".jsonl", ".lock")),
}


def make_inputs(folder: Path) -> None:
    """Pictures, weights, a small data set and a recipe; the same on every call."""
    rng = np.random.default_rng(SEED)
    (folder / "in").mkdir(parents=True)
    for number, name in enumerate("abcdef"):
        row, column = np.mgrid[:40, :48]
        picture = np.stack([row * 5, column * 4, row + column + 9 * number], 2) % 256
        Image.fromarray(picture.astype(np.uint8)).save(folder / "in" / f"{name}.png")
    weights = {"w": rng.normal(size=(40, 50)).astype(np.float32)}
    save_file(weights, folder / "weights.safetensors")
    (folder / "data" / "small").mkdir(parents=True)
    packed = np.packbits(rng.integers(2, size=(20, 64), dtype=np.uint8), axis=1)
    np.savez(folder / "data" / "small" / "binarized_mnist.npz", train=packed, test=packed[:5])
    (folder / "recipe.yaml").write_text(RECIPE)


def files(folder: Path) -> dict[str, str]:
    """The digest of every visible file below a folder, by name."""
    return {
        path.relative_to(folder).as_posix(): digest(path)
        for path in sorted(folder.rglob("*"))
        if path.is_file() and not path.name.startswith(".")
    }


def digest(path: Path) -> str:
    """Of a file's content; of tensors alone where it has them, since checkpoints hold times."""
    if path.suffix != ".safetensors":
        return sha256(path.read_bytes()).hexdigest()
    try:
        with safe_open(path, "numpy") as file:
            tensors = [file.get_tensor(name).tobytes() for name in sorted(file.keys())]
    except SafetensorError:
        return DAMAGED
    return sha256(b"".join(tensors)).hexdigest()


def command(words: Sequence[str], folder: Path) -> int:
    """Run a command of laconic in this process; its exit status."""
    from laconic.cli import main

    os.chdir(folder)
    sys.argv = ["laconic", *words]
    try:
        main()
    except SystemExit as end:
        return int(end.code or 0)
    return 0


def count_operations(stop_before: int, path: str) -> None:
    """Count what the process does to files; kill it before one, or write the number at each."""
    seen, most = 0, stop_before or sys.maxsize

    def watch(event: str, arguments: tuple[Any, ...]) -> None:
        nonlocal seen
        writes = event == "open" and isinstance(arguments[2], int) and arguments[2] & WRITES
        if not (writes or event in EVENTS) or arguments[0] == path:
            return
        seen += 1
        if seen >= most:
            os.kill(os.getpid(), signal.SIGKILL)
        if not stop_before:
            with open(path, "w") as file:
                file.write(str(seen))

    sys.addaudithook(watch)


def forked(words: Sequence[str], folder: Path, stop_before: int | None, seconds: float) -> int:
    """Run a command in a forked child, killed before an operation or after a time; its status.

    Args:
        words: of the command.
        folder: in which it runs.
        stop_before: number of the operation on files; 0: count them only; None: do not.
        seconds: after which the parent kills it.

    Returns:
        The exit status, or minus the number of the signal.
    """
    child = os.fork()
    if child == 0:
        status = 70
        try:
            log = os.open(folder.with_suffix(".log"), os.O_WRONLY | os.O_CREAT | os.O_TRUNC)
            for number in (1, 2):
                os.dup2(log, number)
            if stop_before is not None:
                count_operations(stop_before, str(folder.with_suffix(".count")))
            status = command(words, folder)
        except BaseException:
            traceback.print_exc()
        finally:
            with contextlib.suppress(Exception):
                sys.stdout.flush()
                sys.stderr.flush()
            os._exit(status)
    deadline = time.monotonic() + seconds
    while True:
        ended, status = os.waitpid(child, os.WNOHANG)
        if ended:
            return os.waitstatus_to_exitcode(status)
        if time.monotonic() >= deadline:
            os.kill(child, signal.SIGKILL)
            return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
        time.sleep(min(0.002, max(0.0, deadline - time.monotonic())))


@dataclass(frozen=True)
class Reference:
    """A command without a death.

    Attributes:
        inputs: files before.
        outputs: files after, without inputs.
        seconds: how long it took.
        operations: on files.
    """

    inputs: dict[str, str]
    outputs: dict[str, str]
    seconds: float
    operations: int


def reference(subject: Subject, root: Path) -> Reference:
    """Run a command to its end, twice: to count, and to measure the time."""
    for attempt, count in enumerate((0, None)):
        folder = root / f"reference-{attempt}"
        make_inputs(folder)
        inputs, began = files(folder), time.monotonic()
        status = forked(subject.first, folder, count, LIMIT_SECONDS)
        seconds = time.monotonic() - began
        if status:
            raise SystemExit(folder.with_suffix(".log").read_text())
    outputs = {name: content for name, content in files(folder).items() if name not in inputs}
    operations = int((root / "reference-0.count").read_text())
    return Reference(inputs, outputs, seconds, operations)


def faults(subject: Subject, known: Reference, folder: Path, complete: bool) -> list[str]:
    """What is wrong in a folder after a death, or after the repetition.

    After a death a checkpoint may be an earlier one.
    """
    found, wrong = files(folder), []
    for name, content in known.inputs.items():
        if found.get(name) != content:
            wrong.append(f"input {name} changed")
    for name, content in found.items():
        if name in known.inputs or name.endswith(subject.volatile) or "tfevents" in name:
            continue
        if name not in known.outputs:
            wrong.append(f"{name} is too many")
            continue
        earlier = name.endswith(".safetensors") and content != DAMAGED and not complete
        if known.outputs[name] != content and not earlier:
            wrong.append(f"{name} is not whole")
    if complete:
        wrong += [f"{name} is lost" for name in known.outputs if name not in found]
    return wrong


def moment(name: str, number: int, known: Reference, root: Path) -> dict[str, Any]:
    """One death of a command and its repetition."""
    subject, choice = SUBJECTS[name], Random(f"{SEED} {name} {number}")
    folder = root / f"{name}-{number}"
    make_inputs(folder)
    if number % 2:
        stop: int | None = choice.randrange(1, known.operations + 1)
        status = forked(subject.first, folder, stop, LIMIT_SECONDS)
        at: dict[str, Any] = {"before_operation": stop}
    else:
        seconds = choice.uniform(0, known.seconds)
        status = forked(subject.first, folder, None, seconds)
        at = {"seconds": round(seconds, 4)}
    wrong = faults(subject, known, folder, complete=False)
    again = subject.again
    if name == "train" and not list((folder / "run").glob("*.safetensors")):
        again = subject.first
    repeated = forked(again, folder, None, LIMIT_SECONDS)
    if repeated:
        wrong.append(f"status {repeated}: {folder.with_suffix('.log').read_text()[-300:]}")
    wrong += faults(subject, known, folder, complete=True)
    shutil.rmtree(folder)
    return {"command": name, "number": number, **at, "killed": status == -signal.SIGKILL,
            "faults": wrong}  # fmt: skip


def attack(
    counts: dict[str, int], done: list[dict[str, Any]], save: Callable[[], None]
) -> list[dict[str, Any]]:
    """Do the moments that are not done yet.

    Args:
        counts: moments by command.
        done: those that are done; the others are added.
        save: called from time to time.
    """
    torch.set_num_threads(1)
    seen = {(one["command"], one["number"]) for one in done}
    with tempfile.TemporaryDirectory(prefix="laconic-kill-") as place:
        for name, count in counts.items():
            left = [number for number in range(count) if (name, number) not in seen]
            if not left:
                continue
            root = Path(place, name)
            warm = root / "warm"
            make_inputs(warm)
            here = Path.cwd()
            with open(os.devnull, "w") as nothing, contextlib.redirect_stdout(nothing):
                command(SUBJECTS[name].first, warm)
            os.chdir(here)
            known = reference(SUBJECTS[name], root)
            for number in left:
                done.append(moment(name, number, known, root))
                if len(done) % SAVED_MOMENTS == 0:
                    save()
    save()
    return done


def main() -> int:
    """Attack all commands, and write results.json."""
    from laconic.container import write_atomically
    from laconic.evaluation.report.provenance import describe_run

    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--moments", type=int, default=200)
    parser.add_argument("--results", type=Path, default=RESULTS)
    options = parser.parse_args()
    started, results = time.time(), options.results
    done = json.loads(results.read_text())["moments"] if results.exists() else []
    share, rest = divmod(options.moments, len(SUBJECTS))
    counts = {name: share + (k < rest) for k, name in enumerate(SUBJECTS)}

    def save() -> None:
        wrong = [one for one in done if one["faults"]]
        killed = sum(one["killed"] for one in done)
        document = {
            "title": "SIGKILL at random moments",
            "run": describe_run(
                f"python experiments/hardening/kill.py --moments {options.moments}",
                started, REPOSITORY, seeds=[SEED],
            ),
            "targets": [
                {"name": "deaths of compress, archive, shrink, train, corpus", "target": ">= 200",
                 "ours": killed, "met": killed >= 200},
                {"name": "deaths after which a file was half written, lost or not repaired",
                 "target": "0", "ours": len(wrong), "met": not wrong},
            ],
            "moments": done,
        }  # fmt: skip
        write_atomically(results, (json.dumps(document, indent=1) + "\n").encode())

    attack(counts, done, save)
    wrong = [one for one in done if one["faults"]]
    print(f"{len(done)} moments, {sum(one['killed'] for one in done)} deaths, {len(wrong)} faults")
    for one in wrong[:10]:
        print(one)
    return 1 if wrong else 0


if __name__ == "__main__":
    sys.exit(main())
