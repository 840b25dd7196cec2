"""Weights to files and back: types, shapes, bounds on the error, sizes, damage."""

import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from safetensors.torch import load_file, save_file
from torch import Tensor

import laconic
from laconic.codecs.network import codec as network
from laconic.codecs.network import tensors
from laconic.codecs.network.file import NetworkFile
from laconic.codecs.network.manifest import (
    LAYOUTS,
    PREDICTED,
    Entry,
    Method,
    read_manifest,
    write_manifest,
)
from laconic.coding.tensors.quantised import to_values
from laconic.errors import (
    CorruptFileError,
    InputError,
    LaconicError,
    UnreachableTargetError,
    UnsupportedFileError,
)
from laconic.weights import convert
from laconic.weights.methods.kmeans import assign, kmeans


def weights(seed: int = 0) -> dict[str, Tensor]:
    """A little of everything."""
    torch.manual_seed(seed)
    shared = torch.randn(30, 20)
    return {
        "conv": torch.randn(16, 8, 3, 3) * torch.rand(16, 1, 1, 1),
        "half": torch.randn(40, 50).half(),
        "brain": torch.randn(40, 50).bfloat16(),
        "double": torch.randn(20, 30).double(),
        "bias": torch.randn(16),
        "steps": torch.tensor(12345),
        "mask": torch.rand(30, 30) > 0.5,
        "ids": torch.randint(-5, 5, (7, 9), dtype=torch.int16),
        "bytes": torch.randint(0, 255, (300,), dtype=torch.uint8),
        "eight": torch.randn(33).to(torch.float8_e4m3fn),
        "empty": torch.zeros(0, 4),
        "zero": torch.zeros(40, 40),
        "embed": shared,
        "tied": shared.clone(),
    }


def same(first: Tensor, second: Tensor) -> bool:
    if first.dtype != second.dtype or first.shape != second.shape:
        return False
    bits = [x.reshape(-1).view(torch.uint8) for x in (first, second) if x.numel()]
    return not bits or torch.equal(*bits)


def test_lossless_keeps_every_bit() -> None:
    source = weights()
    source["bias"][3], source["conv"][0, 0, 0, 0] = float("nan"), float("-inf")
    back = laconic.expand(laconic.shrink(source, lossless=True))
    assert back.keys() == source.keys()
    assert all(same(back[name], tensor) for name, tensor in source.items())


@settings(deadline=None, max_examples=25)
@given(
    st.sampled_from([torch.float32, torch.float64, torch.bfloat16, torch.float16]),
    st.lists(st.integers(0, 9), max_size=4),
    st.floats(0.02, 0.9),
    st.integers(0, 99),
)
def test_errors_stay_within_the_tolerance(
    dtype: torch.dtype, shape: list[int], tolerance: float, seed: int
) -> None:
    torch.manual_seed(seed)
    tensor = (torch.randn(shape) * torch.rand(shape) ** 3).to(dtype)
    back = laconic.expand(laconic.shrink({"w": tensor}, tolerance=tolerance))["w"]
    assert back.dtype == dtype
    assert back.shape == tensor.shape
    difference = (back.double() - tensor.double()).norm()
    assert float(difference) <= tolerance * float(tensor.double().norm()) * (1 + 1e-9)
    if tensor.ndim < 2 or tensor.numel() < tensors.SMALLEST:
        assert same(back, tensor)


def test_blocks_join(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("laconic.codecs.network.blocks.BLOCK", 1000)
    tensor = torch.randn(77, 90)
    back = laconic.expand(laconic.shrink({"w": tensor}, tolerance=0.05))["w"]
    assert float((back - tensor).norm() / tensor.norm()) <= 0.05


def test_patterns_choose_the_tolerance() -> None:
    tensors = {"a.w": torch.randn(40, 40), "b.w": torch.randn(40, 40)}
    data = laconic.shrink(tensors, tolerance={"*": 0.2, "b.*": 0.01})
    back = laconic.expand(data)
    errors = {k: float((back[k] - w).norm() / w.norm()) for k, w in tensors.items()}
    assert 0.1 < errors["a.w"] <= 0.2
    assert 0.005 < errors["b.w"] <= 0.01
    only = laconic.expand(laconic.shrink(tensors, tolerance={"b.*": 0.1}))
    assert same(only["a.w"], tensors["a.w"])
    with pytest.raises(InputError, match=r"no tensor is called 'c\.\*'"):
        laconic.shrink(tensors, tolerance={"c.*": 0.1})


def test_a_tensor_that_occurs_twice_is_coded_once() -> None:
    one, two = torch.randn(300, 300), torch.randn(300, 300)
    tied = laconic.shrink({"a": one, "b": one.clone(), "c": two})
    assert len(tied) < len(laconic.shrink({"a": one, "c": two})) + 40
    back = laconic.expand(tied)
    assert same(back["a"], back["b"])
    assert NetworkFile.read(tied).entries[1].method == Method.SAME


@pytest.mark.parametrize("bits", [1.0, 2.5, 6.0])
def test_bits_per_weight_are_met_and_used(bits: float) -> None:
    tensors = {"a": torch.randn(200, 300), "b": 5 * torch.randn(100, 100)}
    data = laconic.shrink(tensors, bits_per_weight=bits)
    assert 0.98 * bits < 8 * len(data) / 70000 <= bits


@pytest.mark.parametrize("bits", [0.1, 0.3, 0.5, 3.0])
def test_bits_per_weight_are_met_where_tails_are_heavy(bits: float) -> None:
    """Halving the tolerance costs far less than a bit there: the search once ended empty-handed."""
    heavy = torch.distributions.StudentT(torch.tensor(1.5)).sample((100, 600))
    data = laconic.shrink({"heavy": heavy}, bits_per_weight=bits)
    assert 0.97 * bits < 8 * len(data) / 60000 <= bits
    assert laconic.expand(data)["heavy"].shape == heavy.shape


@pytest.mark.slow
def test_bits_per_weight_of_a_pruned_network() -> None:
    """Beyond what its few weights need, or where sizes jump, files may be smaller; never empty."""
    weights = torch.randn(100, 600) * (torch.rand(100, 600) < 0.03)
    exact = len(laconic.shrink({"w": weights}, lossless=True))
    sizes = []
    for bits in (0.25, 0.4, 1.0, 2.0, 4.0, 20.0, 100.0):
        data = laconic.shrink({"w": weights}, bits_per_weight=bits)
        assert 8 * len(data) / 60000 <= bits
        assert torch.linalg.vector_norm(laconic.expand(data)["w"] - weights) < 0.3 * weights.norm()
        sizes.append(len(data))
    assert sizes == sorted(sizes)
    assert 0 < sizes[0] < sizes[-1] == exact


def test_exactness_is_taken_where_it_costs_nothing() -> None:
    """Steps as fine as the type itself would take more than every bit of the numbers."""
    half = torch.randn(200, 300).bfloat16()
    fine, coarse = (laconic.shrink({"w": half}, tolerance=error) for error in (1e-4, 0.01))
    assert torch.equal(laconic.expand(fine)["w"], half)
    assert not torch.equal(laconic.expand(coarse)["w"], half)
    assert len(coarse) < len(fine) == len(laconic.shrink({"w": half}, lossless=True))


def test_impossible_requests_are_refused() -> None:
    tensors = {"a": torch.randn(30, 30)}
    with pytest.raises(UnreachableTargetError, match="is the least"):
        laconic.shrink(tensors, bits_per_weight=1e-3)
    for bits in (0.0, -1.0, float("nan")):
        with pytest.raises(InputError, match="above 0"):
            laconic.shrink(tensors, bits_per_weight=bits)
    for tolerance in (1.0, -0.1, float("nan")):
        with pytest.raises(InputError, match="tolerance"):
            laconic.shrink(tensors, tolerance=tolerance)
    with pytest.raises(InputError, match="one of"):
        laconic.shrink(tensors, tolerance=0.1, lossless=True)
    for bad in (
        3,
        torch.zeros(3, dtype=torch.complex128),
        torch.eye(3).to_sparse(),
        torch.zeros(3, device="meta"),
    ):
        with pytest.raises(InputError, match="'a' is no dense tensor"):
            laconic.shrink({"a": bad})  # type: ignore[dict-item]


def test_broken_weights_are_named() -> None:
    tensor = torch.randn(30, 30)
    tensor[0, :2] = float("nan")
    with pytest.raises(InputError, match="'w' has 2 NaN"):
        laconic.shrink({"w": tensor})


@pytest.mark.parametrize("scale", [1e-300, 1e-160, 1e-120, 1e120, 1e160, 1e300])
def test_doubles_whose_squares_leave_the_range_of_doubles(scale: float) -> None:
    weights = torch.randn(30, 30, dtype=torch.float64) * scale
    back = laconic.expand(laconic.shrink({"w": weights}, tolerance=0.01))["w"]
    error = torch.linalg.vector_norm((back - weights) / scale)
    assert error <= 0.01 * torch.linalg.vector_norm(weights / scale)


def test_a_tolerance_out_of_reach_of_steps_keeps_every_bit() -> None:
    """An outlier among small weights: no single step of 30 bits serves both."""
    tensor = torch.randn(30, 30).double()
    tensor[0, 0] = 1e12
    assert torch.equal(laconic.expand(laconic.shrink({"w": tensor}, tolerance=1e-10))["w"], tensor)


def test_order_does_not_matter_and_bytes_repeat() -> None:
    source = weights()
    backwards = dict(reversed(source.items()))
    assert laconic.shrink(source) == laconic.shrink(backwards) == laconic.shrink(source)


def test_safetensors_come_back_byte_for_byte(tmp_path: Path) -> None:
    path = tmp_path / "w.safetensors"
    save_file(weights(), path, metadata={"format": "pt", "note": "ä"})
    from laconic.data.weights.tensors import encode_weights

    file = NetworkFile.read(laconic.shrink(path, lossless=True))
    layout = [(e.name, e.dtype, e.shape, e.size_bytes) for e in file.entries]
    pieces = encode_weights(layout, (tensor for _, tensor in file.tensors()), file.metadata)
    (tmp_path / "back.safetensors").write_bytes(b"".join(pieces))
    back = load_file(tmp_path / "back.safetensors")
    assert all(same(back[name], tensor) for name, tensor in weights().items())
    assert file.metadata == {"format": "pt", "note": "ä"}


def test_progress_counts_the_tensors() -> None:
    ticks: list[tuple[int, int]] = []
    laconic.shrink(weights(), progress=lambda done, total: ticks.append((done, total)))
    assert ticks == [(index, len(weights())) for index in range(len(weights()))]


def test_info_adds_up() -> None:
    data = laconic.shrink(weights())
    values = NetworkFile.read(data).describe().to_dict()
    json.dumps(values, allow_nan=False)
    assert values["codec"] == "network"
    assert values["file_bits"] == 8 * len(data) == sum(values["sections"].values())
    keys = {"ideal_bits", "theory_bits", "coder", "model", "width", "height"}
    assert all(values[key] is None for key in keys)
    assert 0 < sum(row["bytes"] for row in values["tensors"]) < len(data)
    kept = {row["name"]: row["method"] for row in values["tensors"]}
    assert (kept["conv"], kept["bias"], kept["tied"]) == ("dependent", "lossless", "same")


@pytest.mark.slow
def test_damage_ends_in_a_laconic_error() -> None:
    """300 flips, cuts and splices, half of them with checksums mended."""
    import zlib

    source = {k: v for k, v in weights().items() if k in ("conv", "bias", "mask", "tied")}
    plain_file = NetworkFile.read(laconic.shrink(source))
    kernels = NetworkFile.read(kernels_file())
    from laconic.container import Section, pack

    generator = np.random.default_rng(0)
    for trial in range(400):
        file = kernels if trial % 4 == 0 else plain_file
        sections = [bytearray(section.data) for section in file.file.sections]
        part = sections[int(generator.integers(len(sections)))]
        place = int(generator.integers(len(part)))
        if part is sections[0] and trial % 2:
            plain = bytearray(zlib.decompress(bytes(part)))
            plain[int(generator.integers(len(plain)))] ^= 1 << int(generator.integers(8))
            part[:] = zlib.compress(bytes(plain))
        elif trial % 3:
            part[place] ^= 1 << int(generator.integers(8))
        else:
            del part[place:]
        names = [section.name for section in file.file.sections]
        damaged = [Section(n, bytes(d)) for n, d in zip(names, sections, strict=True)]
        try:
            tensors = laconic.expand(pack("network", file.file.header, damaged))
        except LaconicError:
            continue
        assert all(tensor.numel() < 2**24 for tensor in tensors.values())


def test_absurd_lists_are_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    good = Entry("a", "F32", (3, 4), Method.QUANTISED, 0.5)
    entries, notes = read_manifest(write_manifest([good], {"k": "v"}))
    assert entries == (good,)
    assert notes == {"k": "v"}
    for check in ("check_texts", "check_entry"):
        monkeypatch.setattr(f"laconic.codecs.network.manifest.{check}", lambda *_: None)
    twice = write_manifest([good, good], {})
    repeated = Entry("b", "F32", (4, 3), Method.SAME, same_as=0)
    huge = Entry("a", "U8", (1 << 33, 1 << 33), Method.LOSSLESS)
    integer = Entry("a", "I64", (3, 4), Method.QUANTISED, 0.5)
    eight = Entry("a", "F8_E4M3", (3, 4), Method.QUANTISED, 0.5)
    empty = Entry("a", "F32", (3, 0), Method.QUANTISED, 0.5)
    flat = [[Entry("a", "F32", (3, 4), kind, 0.5)] for kind in PREDICTED.values()]
    wrong = [[good, repeated], [huge], [integer], [eight], [empty], *flat]
    lists = [write_manifest(entries, {}) for entries in wrong]
    for data in (twice, *lists, b"", b"no zlib", write_manifest([], {})[:-1]):
        with pytest.raises(CorruptFileError):
            read_manifest(data)


@pytest.mark.slow
def test_files_of_other_kinds_are_refused() -> None:
    image = laconic.compress(np.zeros((8, 8, 3), np.uint8))
    with pytest.raises(UnsupportedFileError, match="not 'network'"):
        laconic.expand(image)
    with pytest.raises(UnsupportedFileError, match="no picture"):
        laconic.decompress(laconic.shrink({"a": torch.zeros(3)}))


def test_every_type_has_a_layout() -> None:
    assert set(network.NAMES.values()) == set(LAYOUTS)


def mixed_file() -> bytes:
    return laconic.shrink(weights(), tolerance={"*": 0.03, "double": 0.0})


def codebook_file() -> bytes:
    torch.manual_seed(1)
    values = torch.tensor([0.0, -0.31, 0.17, 0.42, -0.0])
    chosen = torch.multinomial(torch.tensor([0.8, 0.1, 0.05, 0.03, 0.02]), 600, replacement=True)
    half = values[torch.randint(0, 4, (8, 8, 2))].half()
    shared = {"weight": values[chosen].reshape(20, 30), "half": half, "bias": torch.zeros(20)}
    return laconic.shrink(shared, lossless=True)


def kernels_file() -> bytes:
    """Filters whose neighbours are alike, of two and of one dimension, and of noise."""
    generator = torch.Generator().manual_seed(0)
    noise = torch.randint(-9, 10, (16, 12, 6, 6), generator=generator).float() / 8
    blurred = noise[..., 1:, 1:] + noise[..., :-1, 1:] + noise[..., 1:, :-1]
    tensors = {"planes": blurred, "lines": blurred.flatten(2), "noise": noise}
    return laconic.shrink(tensors, tolerance=0.1)


def test_kernels_are_separated_from_noise() -> None:
    file = NetworkFile.read(kernels_file())
    methods = {entry.name: entry.method for entry in file.entries}
    smooth, noise = Method.DEPENDENT_KERNELS, Method.DEPENDENT
    assert methods == {"planes": smooth, "lines": smooth, "noise": noise}
    shapes = [(4,), (4, 3), (4, 3, 5), (4, 3, 5, 6), (4, 3, 7, 5, 6), (4, 3, 1, 1)]
    kernels = [Entry("a", "F32", shape, Method.QUANTISED).kernel for shape in shapes]
    assert kernels == [(1, 1), (1, 1), (1, 5), (5, 6), (5, 6), (1, 1)]


def steps_file() -> bytes:
    """The same in given steps, rounded to multiples of them where they are not on a path."""
    generator = torch.Generator().manual_seed(0)
    noise = torch.randint(-9, 10, (6, 8, 6, 6), generator=generator).float() / 8
    blurred = noise[..., 1:, 1:] + noise[..., :-1, 1:] + noise[..., 1:, :-1]
    path, _ = to_values(noise.mul(8).long().numpy(), 0)
    tensors = {"planes": blurred, "noise": noise, "path": torch.from_numpy(path).float() / 16}
    steps = {"planes": 0.25, "noise": 0.125, "path": 1 / 16}
    return network.shrink(network.named(tensors), {}, 0.0, steps=steps)


def test_values_on_a_path_are_encoded_as_its_indices() -> None:
    file = NetworkFile.read(steps_file())
    methods = {entry.name: entry.method for entry in file.entries}
    expected = Method.KERNELS, Method.QUANTISED, Method.DEPENDENT
    assert methods == dict(zip(("planes", "noise", "path"), expected, strict=True))


def test_large_tensors_are_one_path_over_all_blocks(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("laconic.codecs.network.blocks.BLOCK", 1000)
    monkeypatch.setattr("laconic.codecs.network.fitting.SAMPLE", 500)
    weight = torch.randn(97, 31, generator=torch.Generator().manual_seed(0))
    for tolerance in (0.3, 0.02):
        data = laconic.shrink({"w": weight}, tolerance=tolerance)
        assert NetworkFile.read(data).entries[0].method == Method.DEPENDENT
        error = float((laconic.expand(data)["w"] - weight).norm() / weight.norm())
        assert 0.95 * tolerance < error <= tolerance
    on_path = laconic.expand(data)["w"]
    step = NetworkFile.read(data).entries[0].step
    again = network.shrink(network.named({"w": on_path}), {}, 0.0, steps={"w": step})
    assert NetworkFile.read(again).entries[0].method == Method.DEPENDENT
    assert torch.equal(laconic.expand(again)["w"], on_path)
    assert len(again) == len(data)


@pytest.mark.parametrize("make", [mixed_file, codebook_file, kernels_file, steps_file])
def test_released_files_decode_for_ever(
    check_golden: Callable[[str, Callable[[], bytes]], None], make: Callable[[], bytes]
) -> None:
    check_golden(make.__name__.removesuffix("_file"), make)


def test_few_values_are_a_codebook_and_lose_nothing() -> None:
    """What was clustered or stands on a grid: bit for bit, at its entropy."""
    rng = np.random.default_rng(0)
    values = np.array([0.0, -0.31, 0.17, 0.42, -0.08], np.float32)
    clustered = torch.from_numpy(rng.choice(values, (300, 100), p=[0.9, 0.03, 0.03, 0.02, 0.02]))
    grid = torch.from_numpy(np.rint(rng.laplace(size=(64, 3, 3, 3))).astype(np.float32) * 0.037)
    weights = {"clustered": clustered, "grid": grid, "ones": torch.ones(64)}
    for options in ({"lossless": True}, {"tolerance": 1e-3}):
        data = laconic.shrink(weights, **options)
        for name, tensor in laconic.expand(data).items():
            assert torch.equal(tensor, weights[name]), (options, name)
        methods = {entry.name: entry.method for entry in NetworkFile.read(data).entries}
        assert set(methods.values()) == {Method.CODEBOOK}
    shares = np.array([0.9, 0.03, 0.03, 0.02, 0.02])
    entropy = -float((shares * np.log2(shares)).sum()) * clustered.numel() / 8
    size = NetworkFile.read(laconic.shrink({"clustered": clustered}, lossless=True)).sizes[0]
    assert size < 1.03 * entropy + 60


@pytest.mark.parametrize("dtype", [torch.float32, torch.float16, torch.bfloat16, torch.float64])
def test_a_codebook_has_so_many_values(dtype: torch.dtype) -> None:
    """Of large tensors of floats, which take the nearest of k-means' values; zeros stay zeros."""
    torch.manual_seed(0)
    pruned = torch.randn(60, 50).to(dtype)
    pruned[::2] = 0
    given = {
        "w": pruned,
        "small": torch.randn(4, 5),
        "bias": torch.randn(300),
        "ids": torch.ones(20, 20).int(),
    }
    file = NetworkFile.read(laconic.shrink(given, codebook=8))
    found = {entry.name: tensor for entry, tensor in file.tensors()}
    methods = {entry.name: entry.method for entry in file.entries}
    assert methods["w"] == Method.CODEBOOK
    assert found["w"].dtype == dtype
    assert len(found["w"].unique()) == 9
    assert torch.equal(found["w"] == 0, pruned == 0)
    values = kmeans(pruned, 8)
    nearest = torch.cat([values.new_zeros(1), values]).to(dtype)[assign(pruned, values)]
    assert torch.equal(found["w"], nearest)
    for name in ("small", "bias", "ids"):
        assert same(found[name], given[name]), name


def test_codebooks_of_small_and_of_uniform_tensors() -> None:
    """A codebook is used for four times as many numbers as it has values, the zero included."""
    torch.manual_seed(0)
    given = {
        "w": torch.randn(16, 16),
        "zero": torch.zeros(40, 40),
        "one": torch.full((30, 30), 1e300, dtype=torch.float64),
    }
    file = NetworkFile.read(laconic.shrink(given, codebook=255))
    found = {entry.name: tensor for entry, tensor in file.tensors()}
    assert {entry.method for entry in file.entries} == {Method.CODEBOOK}
    assert len(found["w"].unique()) <= 63
    assert float((found["w"] - given["w"]).norm() / given["w"].norm()) < 0.05
    assert same(found["zero"], given["zero"])
    assert same(found["one"], given["one"])


def test_codebooks_do_not_depend_on_blocks_and_threads(monkeypatch: pytest.MonkeyPatch) -> None:
    given = {"w": torch.randn(70, 90), "v": torch.randn(90, 30)}
    data = laconic.shrink(given, codebook=16)
    monkeypatch.setattr(tensors, "CHUNK", 1000)
    source = network.named(given)
    assert network.shrink(source, {}, 0.0, threads=1, values=16) == data
    assert network.shrink(source, {}, 0.0, threads=3, values=16) == data


def test_impossible_codebooks_are_refused() -> None:
    given = {"a": torch.randn(30, 30)}
    for count in (0, -1, 2.5, True):
        with pytest.raises(InputError, match="codebook is"):
            laconic.shrink(given, codebook=count)  # type: ignore[arg-type]
    with pytest.raises(InputError, match="codebook is 256: give a number of values from 1 to 255"):
        laconic.shrink(given, codebook=256)
    with pytest.raises(InputError, match="one of tolerance"):
        laconic.shrink(given, codebook=8, tolerance=0.1)
    given["a"][0, 0] = torch.nan
    with pytest.raises(InputError, match=r"'a' has 1 NaN.*lossless"):
        laconic.shrink(given, codebook=8)


def test_a_coarse_tolerance_passes_over_a_fine_codebook() -> None:
    rng = np.random.default_rng(0)
    fine = torch.from_numpy(np.rint(20 * rng.normal(size=(64, 64))).astype(np.float32) / 20)
    coarse, exact = (laconic.shrink({"w": fine}, tolerance=value) for value in (0.2, 1e-3))
    assert NetworkFile.read(coarse).entries[0].method == Method.DEPENDENT
    assert len(coarse) < 0.7 * len(exact)


def test_given_steps_are_taken_for_tensors_of_any_size() -> None:
    torch.manual_seed(0)
    weights = {"weight": torch.randn(40, 30), "bias": torch.randn(40), "other": torch.randn(40)}
    source = network.named(weights)
    data = network.shrink(source, {}, 0.0, steps={"weight": 0.1, "bias": 0.01})
    file = NetworkFile.read(data)
    found = {entry.name: (entry.step, tensor) for entry, tensor in file.tensors()}
    for name, step in (("weight", 0.1), ("bias", 0.01)):
        assert found[name][0] == pytest.approx(step)
        assert float((found[name][1] - weights[name]).abs().max()) <= 1.01 * step
    assert torch.equal(found["other"][1], weights["other"])
    for step, message in ((1e-12, "too fine"), (1e40, "too coarse"), (float("nan"), "too coarse")):
        with pytest.raises(InputError, match=message):
            network.shrink(source, {}, 0.0, steps={"weight": step})


@pytest.mark.parametrize("scale", [0.0, -1.0, float("nan"), float("inf"), 1e300])
def test_scales_of_steps_that_no_file_could_store_are_refused(scale: float) -> None:
    net = torch.nn.Sequential(torch.nn.Linear(30, 30), torch.nn.Linear(30, 3))
    convert(net, "sparse-vd")
    with pytest.raises(InputError, match="steps"):
        laconic.shrink(net, step_scale=scale)


def test_a_file_of_another_network_is_refused_by_name() -> None:
    """The network is left as it was; its own file is taken."""
    from torch import nn

    torch.manual_seed(0)
    net = nn.Sequential(nn.Linear(4, 3), nn.Linear(3, 2))
    data = laconic.shrink(net, lossless=True)
    twin = nn.Sequential(nn.Linear(4, 3), nn.Linear(3, 2))
    laconic.expand(data, into=twin)
    assert torch.equal(twin[0].weight, net[0].weight)
    other = nn.Sequential(nn.Linear(5, 3), nn.Linear(3, 2, bias=False), nn.Linear(2, 2))
    before = other[1].weight.clone()
    with pytest.raises(InputError) as caught:
        laconic.expand(data, into=other)
    message = str(caught.value)
    assert "the file lacks: 2.weight, 2.bias" in message
    assert "the network lacks: 1.bias" in message
    assert "of other shapes: 0.weight (3, 4) for (3, 5)" in message
    assert torch.equal(other[1].weight, before)
