"""Every reader over altered input: inputs that once broke a rule, and fresh ones (see fuzz/)."""

import sys
from collections.abc import Iterator
from importlib import import_module
from pathlib import Path
from types import ModuleType

import pytest

FUZZ = Path(__file__).resolve().parents[2] / "fuzz"
NAMES = (
    "info", "network", "lossless", "image", "volume", "decoder", "safetensors", "picture", "recipe",
    "map", "star", "structure",
)  # fmt: skip
NEEDS = {"map": "mrcfile", "star": "starfile", "structure": "gemmi", "recipe": "yaml"}
FRESH = 40
"""Altered inputs of each reader; `python fuzz/run.py` reads as many as you like."""


@pytest.fixture(scope="module")
def targets() -> Iterator[ModuleType]:
    sys.path.insert(0, str(FUZZ))
    yield import_module("targets")
    sys.path.remove(str(FUZZ))


def test_every_reader_is_named_here(targets: ModuleType) -> None:
    assert set(targets.TARGETS) == set(NAMES)


@pytest.mark.parametrize("name", NAMES)
def test_altered_input_is_read_or_refused_in_one_line(targets: ModuleType, name: str) -> None:
    pytest.importorskip(NEEDS.get(name, "numpy"))
    target = targets.TARGETS[name]
    seeds = target.seeds()
    assert seeds
    assert all(target.run(seed) for seed in seeds)
    for path in sorted((FUZZ / "regressions" / name).glob("*")):
        target.run(path.read_bytes())
    found = [target.run(targets.altered(target, seeds, number)) for number in range(FRESH)]
    assert not all(found)


def test_alterations_depend_on_the_seed_alone(targets: ModuleType) -> None:
    target = targets.TARGETS["network"]
    seeds = target.seeds()
    first = [targets.altered(target, seeds, number) for number in range(20)]
    assert first == [targets.altered(target, seeds, number) for number in range(20)]
    assert len(set(first)) > 10
