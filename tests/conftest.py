"""What every test may use: the data folder, golden files, fixed seeds, few threads, slow tests."""

import os
import zlib
from collections.abc import Callable, Container, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import settings

from laconic.codecs.lossless.core import DTYPES, Chain, Costs, EncodedGroup, Samples, Tick, silent
from laconic.coding.random import SharedRandomness
from laconic.data import datasets
from laconic.errors import CorruptFileError
from laconic.models.sliced.config import SlicedConfig
from laconic.models.sliced.ladder import SlicedLadder

REPOSITORY = Path(__file__).resolve().parents[1]

SLOW_TESTS = Path(__file__).with_name("slow_tests.txt")
"""Tests that are `slow` without saying so in their source, by name, with or without parameters."""

SLOW_SECONDS = 0.2
"""Processor time from which a test counts as slow."""

TIMES = pytest.StashKey[dict[str, float]]()

OUTPUT = "processor_seconds"
"""Under which name a process that runs a part of the tests reports their times."""


def pytest_addoption(parser: pytest.Parser) -> None:
    """`--record-slow`, see `make slow-tests`."""
    parser.addoption(
        "--record-slow",
        action="store_true",
        help=f"measure the tests that run, and list those of {SLOW_SECONDS} s or more in "
        f"{SLOW_TESTS.name}; compiled code must be in its cache already",
    )


def pytest_configure(config: pytest.Config) -> None:
    """The quick tests draw fewer examples, where a test does not say how many it needs."""
    settings.register_profile("fast", max_examples=25, deadline=None)
    if config.option.markexpr == "not slow":
        settings.load_profile("fast")


def processor_seconds() -> float:
    """Of this process and of its children that have ended."""
    return sum(os.times()[:4])


@pytest.hookimpl(tryfirst=True)
def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Mark the listed tests, before `-m` chooses among all."""
    config.stash[TIMES] = {}
    listed = set(SLOW_TESTS.read_text(encoding="utf-8").splitlines())
    for item in items:
        if item.nodeid in listed or item.nodeid.partition("[")[0] in listed:
            item.add_marker(pytest.mark.slow)


@pytest.hookimpl(wrapper=True)
def pytest_runtest_protocol(item: pytest.Item) -> Iterator[None]:
    """Measure a test with its fixtures."""
    before = processor_seconds()
    found = yield
    item.config.stash[TIMES][item.nodeid] = processor_seconds() - before
    return found


@pytest.hookimpl(optionalhook=True)
def pytest_testnodedown(node: Any) -> None:
    """Collect the times of a process of pytest-xdist that has ended."""
    times = getattr(node, "workeroutput", {}).get(OUTPUT, {})
    node.config.stash.setdefault(TIMES, {}).update(times)


def pytest_sessionfinish(session: pytest.Session) -> None:
    """Write the list; what did not run stays as it was."""
    times = session.config.stash.get(TIMES, {})
    if hasattr(session.config, "workeroutput"):
        session.config.workeroutput[OUTPUT] = times
        return
    if not session.config.getoption("--record-slow"):
        return
    ran = {*times, *(name.partition("[")[0] for name in times)}
    kept = set(SLOW_TESTS.read_text(encoding="utf-8").splitlines()) - ran
    # Not the examples of docstrings: the first of them only seems slow, since it loads libraries.
    tests = {name: seconds for name, seconds in times.items() if "/test_" in name}
    slow = {name for name, seconds in tests.items() if seconds >= SLOW_SECONDS}
    SLOW_TESTS.write_text("".join(f"{name}\n" for name in sorted(kept | slow)), encoding="utf-8")


@pytest.fixture(scope="session")
def repository() -> Path:
    """Root of the checkout."""
    return REPOSITORY


@pytest.fixture(scope="session")
def data_root() -> Path:
    """Folder of the data sets, where the package looks for them."""
    root = datasets.data_root()
    if not root.is_dir():
        pytest.skip("no data folder: set LACONIC_DATA to the folder that holds kodak/ and photos/")
    return root


@pytest.fixture(scope="session")
def fixtures(repository: Path) -> Path:
    """Folder of the committed golden files."""
    return repository / "tests" / "fixtures"


@pytest.fixture(scope="session")
def check_golden() -> Callable[[Path, bytes], None]:
    """Compare bytes with a committed file; a missing file is a failure.

    `WRITE_GOLDEN=1` writes the file and fails, so that a golden file never appears unseen.
    """

    def check(path: Path, data: bytes) -> None:
        if os.environ.get("WRITE_GOLDEN"):
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(data)
            pytest.fail(f"wrote {path.name}: review it, then run again without WRITE_GOLDEN")
        assert path.is_file(), f"{path} is missing; WRITE_GOLDEN=1 writes it"
        assert path.read_bytes() == data, f"{path.name} has changed"

    return check


@pytest.fixture(scope="session", autouse=True)
def _few_threads() -> None:
    """At most two threads of torch, for all processes that run tests together."""
    workers = int(os.environ.get("PYTEST_XDIST_WORKER_COUNT", "1"))
    torch.set_num_threads(max(1, min(2, os.cpu_count() or 1) // workers))


@pytest.fixture(autouse=True)
def _fixed_seeds() -> Iterator[None]:
    """Tests that draw at random draw the same every time, whichever ran before."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        state = np.random.get_state()
        np.random.seed(0)
        yield
        np.random.set_state(state)


@pytest.fixture(scope="session")
def small_ladder() -> Callable[[], SlicedLadder]:
    """Sliced ladders with the same weights on every machine: multiples of 2^-12, as if trained."""

    def make() -> SlicedLadder:
        sizes = {"fine_width": 8, "coarse_width": 8, "prior_width": 24}
        config = SlicedConfig(block=4, slices=(3, 9, 36), top=4, embedding=8, **sizes)
        model, source = SlicedLadder(config), SharedRandomness(0)
        for index, (name, parameter) in enumerate(sorted(model.named_parameters())):
            if not name.startswith("transform."):
                noise = torch.from_numpy(source.child(index).normals(0, parameter.numel()))
                spread = 0.3 / max(parameter[0].numel(), 1) ** 0.5
                values = torch.round(4096 * spread * noise) / 4096
                parameter.data.copy_(values.reshape(parameter.shape))
        model.transform.variance.copy_(2.0 ** torch.linspace(1, -18, 48).round())
        return model.eval().requires_grad_(False)

    return make


class StandIn:
    """A lossless `GroupCoder` without a model: rows of differences, deflated; chains of `most`.

    Its start is one byte per chain, the first of that chain's data.
    """

    def __init__(self, most: int = 4096) -> None:
        self.most = most

    def encode(self, pixels: Samples, tick: Tick = silent) -> EncodedGroup:
        chains = []
        for first in range(0, len(pixels), self.most):
            part = pixels[first : first + self.most].astype(f"<u{pixels.itemsize}")
            packer = zlib.compressobj(9, wbits=-15)
            rows = np.diff(part, axis=2, prepend=part.dtype.type(0))
            data = packer.compress(rows.tobytes()) + packer.flush()
            chains.append(Chain(len(part), 1, data))
            tick(len(part))
        bits = 8.0 * sum(len(chain.data) for chain in chains)
        return EncodedGroup(
            bytes(chain.data[0] for chain in chains), tuple(chains), Costs(bits, bits)
        )

    def decode(
        self,
        data: EncodedGroup,
        count: int,
        height: int,
        width: int,
        colours: int,
        bits: int,
        tick: Tick = silent,
        wanted: Container[int] | None = None,
    ) -> Iterator[Samples]:
        assert count == sum(chain.count for chain in data.chains)
        stored = np.dtype(DTYPES[bits]).newbyteorder("<") if bits > 1 else np.dtype(np.uint8)
        size = height * width * colours * stored.itemsize
        for index, chain in enumerate(data.chains):
            if data.start[index : index + 1] != chain.data[:1]:
                raise CorruptFileError("a chain does not begin as its group's start says")
            unpacker, rest = zlib.decompressobj(-15), chain.data
            for _ in range(chain.count):
                try:
                    picture = unpacker.decompress(rest, size)
                except zlib.error as error:
                    raise CorruptFileError(f"a chain is damaged: {error}") from error
                rest = unpacker.unconsumed_tail
                if len(picture) < size:
                    raise CorruptFileError("a chain ends too early")
                rows = np.frombuffer(picture, stored).reshape(height, width, colours)
                tick(1)
                yield np.cumsum(rows, axis=1, dtype=stored).astype(DTYPES[bits])


@pytest.fixture(scope="session")
def make_stand_in() -> type[StandIn]:
    """Makes lossless coders that need no model."""
    return StandIn


@pytest.fixture
def float64() -> Iterator[None]:
    """Make float64 the default type, for tests of laws."""
    before = torch.get_default_dtype()
    torch.set_default_dtype(torch.float64)
    yield
    torch.set_default_dtype(before)
