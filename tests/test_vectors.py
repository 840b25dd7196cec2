"""Test vectors of every layer of the format; the second decoder's tests read the same files.

`WRITE_GOLDEN=1` writes them anew: only before a release, since they are part of docs/format.md.
"""

import json
import os
import re
import zlib
from collections.abc import Callable
from importlib.util import module_from_spec, spec_from_file_location
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn
from torch.distributions import Normal

from laconic.coding.integer_tables import half_powers, logistic_cdf, normal_cdf, normal_edges
from laconic.coding.queue.stream import AdaptiveModel, QueueDecoder, QueueEncoder
from laconic.coding.random import SharedRandomness, quantile_table, ranked_normals
from laconic.coding.relative_entropy import CODERS, rate_map
from laconic.coding.stack.ans import Stack
from laconic.coding.stack.normal_bins import NormalBins
from laconic.coding.stack.pixels import ColourMixture, LogisticMixture
from laconic.distributions.rated import RatedNormal
from laconic.models.sliced.ladder import SlicedLadder
from laconic.networks.fixed_point import arithmetic
from laconic.networks.fixed_point.convolution import FixedConvolution

Record = dict[str, Any]


def crc(array: Any, kind: str) -> str:
    """CRC-32 of a table's little-endian bytes."""
    return f"{zlib.crc32(np.asarray(array).astype(kind).tobytes()):08x}"


def source(number: int) -> np.random.Generator:
    return np.random.default_rng(number)


def random_bits() -> Record:
    """Names of substreams, and their first words."""
    cases = []
    for seed, labels in ((0, []), (0, [0]), (7, [3, 1]), (2**64 - 1, [2**40 + 5, 0, 9])):
        shared = SharedRandomness(seed)
        for label in labels:
            shared = shared.child(label)
        words = [f"{word:08x}" for word in shared.bits(0, 6)]
        cases.append(
            {"seed": seed, "labels": labels, "stream": f"{shared.stream:016x}", "words": words}
        )
    return {"cases": cases}


def normals() -> Record:
    """The table, and normals of ranks."""
    ranks = [0, 1, 65535, 1 << 24, (1 << 31) - 1, 1 << 31, 3 << 30, (1 << 32) - (1 << 17)]
    ranks += [(1 << 32) - 1]
    values = ranked_normals(np.array(ranks, np.uint32))
    return {
        "table_crc32": crc(quantile_table(), "<f4"),
        "ranks": ranks,
        "normals": [float(value) for value in values],
    }


def range_coder() -> Record:
    """One message with symbols of every kind."""
    draw, encoder, steps = source(1), QueueEncoder(), list[Record]()
    sizes = [2, 3, 1, 65536, 7, 256]
    values = [int(draw.integers(size)) for size in sizes]
    encoder.uniform(values, sizes)
    steps.append({"kind": "uniform", "sizes": sizes, "values": values})
    counts = [1, 5, 2, 300, 40]
    values = [3, 3, 0, 4, 1, 2, 3]
    encoder.table(values, counts)
    steps.append({"kind": "table", "counts": counts, "values": values})
    values = np.minimum(draw.geometric(0.3, 300) - 1, 11).tolist()
    encoder.adaptive(values, AdaptiveModel(12))
    steps.append(
        {"kind": "adaptive", "size": 12, "step": 32, "limit": 1 << 14, "longest": 64}
        | {"values": values}
    )
    values = np.minimum(draw.geometric(0.1, 900) - 1, 47).tolist()
    encoder.adaptive(values, AdaptiveModel(48, 24, 1 << 18, 1 << 12))
    steps.append(
        {"kind": "adaptive", "size": 48, "step": 24, "limit": 1 << 18, "longest": 1 << 12}
        | {"values": values}
    )
    for value in (0, 1, 1000, 2**48 - 2):
        encoder.integer(value)
        steps.append({"kind": "integer", "value": value})
    values = [0, 5, 70000, 2**32 - 3, 12]
    encoder.integers(values)
    steps.append({"kind": "integers", "values": values})
    return {"message": encoder.finish().hex(), "steps": steps}


def pixels_on_stack() -> Record:
    """Tables, and symbols under mixtures and bins on one stack."""
    draw, stack = source(2), Stack()

    def integers(low: int, high: int, *shape: int) -> list[Any]:
        found: list[Any] = draw.integers(low << 16, high << 16, shape).tolist()
        return found

    grey = [integers(-2, 2, 4, 3), integers(0, 256, 4, 3), integers(-3, 4, 4, 3)]
    colour = [integers(-2, 2, 3, 3, 2), integers(0, 256, 3, 3, 2), integers(-3, 4, 3, 3, 2)]
    couplings = integers(-1, 1, 3, 3, 2)
    bins = [integers(-2, 2, 5), integers(-3, 0, 5)]
    symbols: dict[str, Any] = {"grey": [0, 200, 255, 13], "deep": [0, 50000, 65535, 258]}
    symbols |= {"colour": draw.integers(0, 256, (3, 3)).tolist(), "bins": [5, 2000, 4095, 0, 2047]}
    arrays = [np.array(part) for part in grey]
    LogisticMixture(*arrays).push(stack, symbols["grey"])
    LogisticMixture(*arrays, levels=1 << 16).push(stack, symbols["deep"])
    ColourMixture(*map(np.array, colour), np.array(couplings)).push(stack, symbols["colour"])
    NormalBins(*map(np.array, bins), 12).push(stack, symbols["bins"])
    tables = {"half_powers": half_powers(), "logistic": logistic_cdf(), "normal": normal_cdf()}
    tables["edges"] = normal_edges(12)
    return {
        "tables_crc32": {name: crc(table, "<i4") for name, table in tables.items()},
        "data": stack.to_bytes().hex(),
        "symbols": symbols,
        "grey": grey,
        "colour": [*colour, couplings],
        "bins": bins,
    }


def rates() -> Record:
    """Maps of rates: factors of classes, and tiles."""
    draw = source(3)
    expected = draw.geometric(0.01, 60) // 2
    prior = RatedNormal(torch.zeros(60), torch.ones(60), torch.from_numpy(expected))
    first, second = QueueEncoder(), QueueEncoder()
    # Steps from one class's factor to the next one's; a writer may choose others.
    steps = np.array([1, 0, 0, 1, -2, 1, 0, 0, 0, 0, 1, 0, -1, 0])
    first.table(np.where(steps < 0, -2 * steps - 1, 2 * steps), rate_map._STEP_COUNTS)
    message = first.finish()
    factors = rate_map.read(QueueDecoder(message), prior)
    shape = (3, 5, 6)
    plain = Normal(torch.zeros(shape), torch.ones(shape))
    tiles = rate_map.write(second, draw.gamma(1.0, 1.0, shape), 60.0, plain)
    return {
        "expected": expected.tolist(),
        "factors": {"message": message.hex(), "rates": factors.tolist()},
        "tiles": {"message": second.finish().hex(), "shape": shape, "rates": tiles.tolist()},
    }


def trellis() -> Record:
    """A draw under a prior with expected rates."""
    draw = source(4)
    expected = torch.from_numpy(draw.integers(0, 900, 40))
    zeros = torch.zeros(40, dtype=torch.float64)
    prior = RatedNormal(zeros, torch.ones_like(zeros), expected)
    target = Normal(torch.from_numpy(draw.normal(0, 1, 40)), torch.full_like(zeros, 0.4))
    coder, stream = CODERS["trellis"](), QueueEncoder()
    u, _ = coder.encode(target, prior, stream, SharedRandomness(5))
    message = stream.finish()
    return {
        "parameters": coder.config(),
        "seed": 5,
        "expected": expected.tolist(),
        "message": message.hex(),
        "draw": u.tolist(),
    }


def integer_networks() -> Record:
    """Functions and a layer in units of 2^-16."""
    draw = source(5)
    x = [0, 1, -1, 65536, -65537, 131071, 400000, -(2**26), 2**27]
    numbers = torch.tensor(x, dtype=torch.float64)
    positive = [1.0, 2e-4, 0.0256, 3.7, 12345.678, 2.0**40]
    scales = arithmetic.exp(numbers, 8)
    layer = nn.Conv2d(2, 3, 3, padding=1)
    with torch.no_grad():
        for parameter in layer.parameters():
            values = draw.integers(-(2**15), 2**15, tuple(parameter.shape)) * 2.0**-17
            parameter.copy_(torch.from_numpy(values))
    maps = draw.integers(-200000, 200000, (2, 4, 5))
    out = FixedConvolution(layer)(torch.from_numpy(maps).double()[None])[0]
    return {
        "x": x,
        "leaky_relu": arithmetic.leaky_relu(numbers.clone()).tolist(),
        "asinh": arithmetic.asinh(numbers).tolist(),
        "exp": scales.tolist(),
        "expected_rates": arithmetic.expected_rates(scales).tolist(),
        "positive": positive,
        "log": arithmetic.log(torch.tensor(positive, dtype=torch.float64)).tolist(),
        "weight": layer.weight.tolist(),
        "bias": layer.bias.tolist(),
        "maps": maps.tolist(),
        "convolution": out.tolist(),
    }


VECTORS: dict[str, Callable[[], Record]] = {
    "random": random_bits,
    "normals": normals,
    "range-coder": range_coder,
    "stack": pixels_on_stack,
    "rate-map": rates,
    "trellis": trellis,
    "integer-networks": integer_networks,
}


@pytest.mark.parametrize("name", VECTORS)
def test_vectors_are_reproduced(name: str, fixtures: Path) -> None:
    record, path = json.loads(json.dumps(VECTORS[name]())), fixtures / "vectors" / f"{name}.json"
    check(record, path)


def test_vector_of_the_trellis_is_decoded(fixtures: Path) -> None:
    """Another machine's sender may choose another path; every receiver reads this one alike."""
    record = json.loads((fixtures / "vectors" / "trellis.json").read_text())
    expected = torch.tensor(record["expected"])
    zeros = torch.zeros(len(expected), dtype=torch.float64)
    prior = RatedNormal(zeros, torch.ones_like(zeros), expected)
    coder = CODERS["trellis"].from_config(record["parameters"])
    stream = QueueDecoder(bytes.fromhex(record["message"]))
    draw = coder.decode(prior, stream, SharedRandomness(record["seed"]))
    assert draw.tolist() == record["draw"]


def grown_ladder() -> SlicedLadder:
    """The ladder of the picture grown-layers.lac, which another file of tests makes."""
    path = Path(__file__).parent / "codecs" / "image" / "test_codec.py"
    spec = spec_from_file_location("of_pictures", path)
    assert spec is not None
    assert spec.loader is not None
    module = module_from_spec(spec)
    spec.loader.exec_module(module)
    ladder: SlicedLadder = module.grown()
    return ladder


@pytest.mark.parametrize("name", ["small", "grown"])
def test_small_ladders_are_described(
    name: str, small_ladder: Callable[[], SlicedLadder], fixtures: Path
) -> None:
    """What another program needs to decode the pictures whose model has no file."""
    model = small_ladder() if name == "small" else grown_ladder()
    sizes = {"block": model.config.block, "slices": model.config.slices, "top": model.config.top}
    config = sizes | {"passes": model.config.slice_passes}
    record = {
        "config": json.loads(json.dumps(config)),
        "seed": {"small": 0, "grown": 3}[name],
        "log2_variance": torch.log2(model.transform.variance).tolist(),
        "parameters": [[name, list(p.shape)] for name, p in sorted(model.named_parameters())],
    }
    check(record, fixtures / "vectors" / f"{name}-ladder.json")


EXAMPLES = ["example/picture.lac", "example/network.lac", "image/1/rgb-trellis.lac"]


@pytest.mark.parametrize("name", EXAMPLES)
def test_examples_of_the_specification_are_the_files(name: str, repository: Path) -> None:
    """The tables of docs/format.md, "Examples": their first column is the file, byte by byte."""
    text = (repository / "docs" / "format.md").read_text()
    table = text.split(f"`{name}`:")[1].split("\n\n")[1]
    rows = [re.match(r"\| `([0-9a-f ]+)` \|", line) for line in table.splitlines()[2:]]
    shown = bytes.fromhex("".join(row[1] for row in rows if row))
    data = (repository / "tests" / "fixtures" / name).read_bytes()
    assert all(rows)
    assert data[: len(shown)] == shown
    assert len(shown) == len(data) or name.startswith("image")


def test_specification_has_the_checksums_of_the_tables(repository: Path, fixtures: Path) -> None:
    text = (repository / "docs" / "format-layers.md").read_text()
    vectors = fixtures / "vectors"
    checksums = json.loads((vectors / "stack.json").read_text())["tables_crc32"]
    checksums["T"] = json.loads((vectors / "normals.json").read_text())["table_crc32"]
    assert [name for name, value in checksums.items() if f"`{value}`" not in text] == []


def check(record: Record, path: Path) -> None:
    """Compare with a committed file; a missing file is a failure."""
    if os.environ.get("WRITE_GOLDEN"):
        path.parent.mkdir(exist_ok=True)
        path.write_text(json.dumps(record) + "\n")
        pytest.fail(f"wrote {path.name}: review it, then run again without WRITE_GOLDEN")
    expected = json.loads(path.read_text())
    if "draw" in record:  # The message of a sender that weighs candidates in floats.
        assert record["expected"] == expected["expected"]
        return
    assert record == expected
