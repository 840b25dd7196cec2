"""Another process, with other thread counts, that reads and writes messages."""

import atexit
import hashlib
import importlib
import json
import os
import subprocess
import sys
from functools import cache
from typing import Any
from unittest import SkipTest

import torch
from torch.distributions import Normal

from laconic.coding.queue.stream import QueueDecoder
from laconic.coding.random import SharedRandomness
from laconic.coding.relative_entropy.base import RelativeEntropyCoder
from laconic.testing.checks import ladder_pair, transmit


def serve() -> None:
    """What the other process of `ask` runs: a request a line, an answer a line."""
    torch.set_num_threads(3)
    for line in sys.stdin:
        request = json.loads(line)
        try:
            kind = getattr(importlib.import_module(request["module"]), request["name"])
        except (ImportError, AttributeError):
            print("null", flush=True)
            continue
        coder = kind.from_config(request["config"])
        answer = account(coder, bytes.fromhex(request["message"]), tuple(request["shape"]))
        print(json.dumps(answer), flush=True)


def account(coder: RelativeEntropyCoder, message: bytes, shape: tuple[int, ...]) -> dict[str, str]:
    """Fingerprint of the values in a message, and what this process writes for `ladder_pair`."""
    prior = Normal(torch.zeros(shape), torch.ones(shape))
    draw = coder.decode(prior, QueueDecoder(message), SharedRandomness(1))
    values = hashlib.sha256(draw.numpy().astype("<f4").tobytes()).hexdigest()
    return {"values": values, "message": transmit(coder, *ladder_pair(shape))[2].hex()}


@cache
def _other_process() -> "subprocess.Popen[str]":
    """One for all suites of a test run, since its imports take seconds."""
    threads = {"OMP_NUM_THREADS": "3", "NUMBA_NUM_THREADS": "3"}
    process = subprocess.Popen(
        [sys.executable, "-c", "from laconic.testing.process import serve; serve()"],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
        env={**os.environ, **threads, "PYTHONPATH": os.pathsep.join(filter(None, sys.path))},
    )
    atexit.register(process.communicate)
    return process


def ask(coder: RelativeEntropyCoder, message: bytes, shape: tuple[int, ...]) -> dict[str, str]:
    """`account` from another process, with other thread counts.

    Raises:
        SkipTest: the coder's class lies in no module that another process can import.
    """
    kind, process = type(coder), _other_process()
    request: dict[str, Any] = {"module": kind.__module__, "name": kind.__qualname__}
    request |= {"config": coder.config(), "message": message.hex(), "shape": shape}
    assert process.stdin is not None
    assert process.stdout is not None
    process.stdin.write(json.dumps(request) + "\n")
    process.stdin.flush()
    line = process.stdout.readline()
    assert line, "the other process has died: its last words are on stderr"
    answer: dict[str, str] | None = json.loads(line)
    if answer is None:
        raise SkipTest(f"{kind.__name__} lies in no module that another process can import")
    return answer
