"""The test vectors of docs/format.md, layer by layer."""

import json
import zlib
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from laconic_decoder import arithmetic, coders, coding, draws, stack
from laconic_decoder.arithmetic import Net
from laconic_decoder.coding import Adaptive, Range, Shared
from laconic_decoder.container import LacError

FIXTURES = Path(__file__).parents[2] / "tests" / "fixtures"


def read(name: str) -> Any:
    return json.loads((FIXTURES / "vectors" / f"{name}.json").read_text())


def crc(array: Any, kind: str) -> str:
    return f"{zlib.crc32(np.asarray(array).astype(kind).tobytes()):08x}"


@pytest.mark.parametrize("case", read("random")["cases"])
def test_random_bits(case: dict[str, Any]) -> None:
    shared = Shared(case["seed"])
    for label in case["labels"]:
        shared = shared.child(label)
    assert f"{shared.stream:016x}" == case["stream"]
    words = shared.bits(6)
    assert [f"{int(word):08x}" for word in words] == case["words"]
    assert (shared.at(np.arange(6)) == words).all()


def test_normals() -> None:
    vector = read("normals")
    assert crc(coding.normal_table(), "<f4") == vector["table_crc32"]
    ranks = np.array(vector["ranks"], np.int64)
    assert coding.normals_of_ranks(ranks).tolist() == vector["normals"]
    words = np.where(ranks >> 31 == 1, ranks ^ 1 << 31, (1 << 32) - 1 - ranks)
    assert coding.normals_of(words).tolist() == vector["normals"]


def test_range_coder() -> None:
    vector = read("range-coder")
    stream = Range(bytes.fromhex(vector["message"]))
    for step in vector["steps"]:
        kind = step["kind"]
        if kind == "uniform":
            assert stream.uniform(step["sizes"]) == step["values"]
        elif kind == "table":
            edges = coding.edges_of(np.array(step["counts"]))
            assert stream.symbols(len(step["values"]), edges) == step["values"]
        elif kind == "adaptive":
            model = Adaptive(step["size"], step["step"], step["limit"], step["longest"])
            assert stream.adaptive(len(step["values"]), model).tolist() == step["values"]
        elif kind == "integer":
            assert stream.integer(1 << 48) == step["value"]
        else:
            assert stream.integers(len(step["values"])).tolist() == step["values"]


def test_stack() -> None:
    vector = read("stack")
    tables = {"half_powers": stack.half_powers(), "logistic": stack.logistic_cdf()}
    tables |= {"normal": stack.normal_cdf(), "edges": stack.normal_quantiles(12)}
    for name, table in tables.items():
        assert crc(table, "<i4") == vector["tables_crc32"][name], name
    data = bytes.fromhex(vector["data"])
    bits = stack.Stack(data)
    means, log_scales = (np.array(part) for part in vector["bins"])
    flat = np.zeros((5, 1), np.int64), means[:, None] << 8, log_scales[:, None]
    edges, table = stack.normal_quantiles(12).tolist(), stack.normal_cdf().tolist()
    mixed = stack.mixtures(*flat, edges, table, 8)
    bins = [
        stack.pop_symbol(bits, stack.curve(mixed, i, [int(flat[1][i, 0])]), 4096) for i in range(5)
    ]
    assert bins == vector["symbols"]["bins"]
    before = bits.head, list(bits.words)
    stack.push_bins(bits, np.array(bins), means, log_scales)
    assert bits.head == stack.Stack(data).head
    bits.head, bits.words = before
    colour = [np.array(part) for part in vector["colour"]]
    found = stack.pop_pixels(bits, stack.PixelParameters(*colour), 8)
    assert found.tolist() == vector["symbols"]["colour"]
    grey = [np.array(part)[:, None] for part in vector["grey"]]
    for name, depth in (("deep", 16), ("grey", 8)):
        found = stack.pop_pixels(bits, stack.PixelParameters(*grey, None), depth)
        assert found[:, 0].tolist() == vector["symbols"][name]
    assert (bits.head, bits.words) == (1 << 32, [])
    with pytest.raises(LacError, match="too early"):
        stack.pop_bins(bits, 9)


def test_rate_map() -> None:
    vector = read("rate-map")
    factors, tiles = vector["factors"], vector["tiles"]
    stream = Range(bytes.fromhex(factors["message"]))
    rates = draws.read_factors(stream, np.array(vector["expected"]))
    assert rates.tolist() == factors["rates"]
    stream = Range(bytes.fromhex(tiles["message"]))
    assert draws.read_tiles(stream, tiles["shape"]).tolist() == tiles["rates"]


def test_trellis() -> None:
    vector = read("trellis")
    expected, stream = np.array(vector["expected"]), Range(bytes.fromhex(vector["message"]))
    coder, shared = draws.Coder("trellis", vector["parameters"]), Shared(vector["seed"])
    u = coders.decode_message(coder, stream, shared, (40,), expected)
    assert u.astype(np.float64).tolist() == vector["draw"]


def test_integer_networks() -> None:
    vector = read("integer-networks")
    x = np.array(vector["x"], np.float64)
    layer = {f"c.{name}": np.array(vector[name], np.float32) for name in ("weight", "bias")}
    net = Net(layer, True)
    assert net.leaky(x).tolist() == vector["leaky_relu"]
    assert net.asinh(x).tolist() == vector["asinh"]
    assert arithmetic.exact_exp(x).tolist() == vector["exp"]
    rates = arithmetic.expected_rates(np.array(vector["exp"]))
    assert rates.tolist() == vector["expected_rates"]
    assert arithmetic.exact_log(np.array(vector["positive"])).tolist() == vector["log"]
    maps = np.array(vector["maps"], np.float64)
    assert net.conv("c", maps).tolist() == vector["convolution"]
