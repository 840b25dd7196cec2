"""Faults in the coding of tensors that trials of the product found (issue 25)."""

import json
import struct
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import replace
from functools import partial
from pathlib import Path

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from safetensors.torch import save_file
from torch import Tensor
from typer.testing import CliRunner

import laconic
from laconic.cli import app
from laconic.codecs.base import CoderSetting, ModelId
from laconic.codecs.image.header import ImageHeader, LevelCost
from laconic.codecs.image.tiles import TilePlan
from laconic.codecs.lossless.names import check_names, read_names, write_names
from laconic.codecs.network import codec as network
from laconic.codecs.network import drawn, manifest
from laconic.codecs.network import pipeline as ahead
from laconic.codecs.network.file import NetworkFile
from laconic.codecs.network.manifest import Entry, Method, read_manifest, write_manifest
from laconic.coding.tensors import quantised
from laconic.container import FieldReader, FieldWriter, Section, file, pack, unpack
from laconic.data.weights.tensors import encode_weights, open_weights
from laconic.errors import InputError
from laconic.types import TORCH_DTYPES, shape_in_torch, view_as


def same(first: Mapping[str, Tensor], second: Mapping[str, Tensor]) -> bool:
    """Whether tensors have the same names, types, shapes and bits."""
    return first.keys() == second.keys() and all(
        second[name].dtype == own.dtype
        and second[name].shape == own.shape
        and torch.equal(*(x.contiguous().view(-1).view(torch.uint8) for x in (own, second[name])))
        for name, own in first.items()
    )


def test_line_06_many_axes_and_notes_come_back(tmp_path: Path) -> None:
    path, back = tmp_path / "w.safetensors", tmp_path / "back.safetensors"
    tensors = {"axes": torch.randn([1] * 16 + [9]), "most": torch.randn([1] * 63 + [5])}
    save_file(tensors, path, {f"note {k}": "text" for k in range(17_000)})
    lac = tmp_path / "w.lac"
    lac.write_bytes(laconic.shrink(path, lossless=True))
    assert CliRunner().invoke(app, ["expand", str(lac), "-o", str(back)]).exit_code == 0
    assert open_weights(back)[1] == open_weights(path)[1]
    assert same(laconic.expand(lac), tensors)


@pytest.mark.slow
def test_line_06_a_file_holds_more_than_16384_tensors() -> None:
    entries = [Entry(f"{k}", "U8", (1,), Method.LOSSLESS) for k in range(17_000)]
    sections = [Section("manifest", write_manifest(entries, {}))]
    sections += [Section("tensor", bytes([k % 256])) for k in range(17_000)]
    opened = NetworkFile.read(pack("network", bytes([network.REVISION]), sections))
    assert opened.entries == tuple(entries)


def test_line_06_what_no_reader_accepts_is_refused_before_it_is_written() -> None:
    one = torch.zeros(1)
    refused = {
        "axes": {"w": one.reshape([1] * 65)},
        "too large": {"w": torch.zeros(0, 1 << 40)},
        "surrogates": {"\ud800": one},
        "too long": {"w" * ((1 << 24) + 1): one},
    }
    for message, tensors in refused.items():
        with pytest.raises(InputError, match=message):
            laconic.shrink(tensors, lossless=True)
    with pytest.raises(InputError, match="128 bytes"):
        pack("m" * 129, b"", [])
    with pytest.raises(InputError, match="cannot be stored"):
        FieldWriter().integer(1 << 64)


LIMITS = {"MAX_TENSORS": 3, "MAX_NOTES": 2, "MAX_AXES": 3, "MAX_NUMBERS": 40, "MAX_TEXT_BYTES": 5}
texts = st.text(max_size=6) | st.sampled_from(["\ud800", "äöü"])
shapes = st.lists(st.integers(0, 7), max_size=4).map(tuple)
kinds = st.sampled_from(["F32", "F4", "C64", "U8"])


@pytest.mark.slow
@given(
    st.lists(st.builds(Entry, texts, kinds, shapes, st.just(Method.LOSSLESS)), max_size=4),
    st.dictionaries(texts, texts, max_size=3),
    st.integers(20, 90),
)
@settings(max_examples=100, deadline=None)
def test_line_06_lists_are_read_or_not_written(
    entries: list[Entry], notes: dict[str, str], size: int
) -> None:
    with pytest.MonkeyPatch.context() as patch:
        for name, value in {**LIMITS, "MAX_MANIFEST_BYTES": size}.items():
            patch.setattr(manifest, name, value)
        try:
            data = write_manifest(entries, notes)
        except InputError:
            return
        assert read_manifest(data) == (tuple(entries), notes)


@given(
    st.text(max_size=5),
    st.binary(max_size=40),
    st.lists(st.builds(Section, texts, st.binary(max_size=3)), max_size=5),
)
@settings(max_examples=100, deadline=None)
def test_line_06_containers_are_read_or_not_written(
    codec: str, header: bytes, sections: list[Section]
) -> None:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(file, "MAX_HEADER_BYTES", 48)
        patch.setattr(file, "MAX_SECTIONS", 3)
        patch.setattr("laconic.container.fields.MAX_WORD_BYTES", 4)
        try:
            data = pack(codec, header, sections)
        except InputError:
            return
        assert unpack(data).sections == tuple(sections)


def test_line_06_draws_of_too_many_numbers_in_all_are_refused(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    from torch.distributions import Normal

    from laconic.coding.relative_entropy import CODERS

    writer = drawn.DrawsWriter(CODERS["importance"]())
    for name in ("a", "b"):
        writer.begin(name, (4, 2), 1.0)
        writer.encode(Normal(torch.zeros(4, 2), torch.full((4, 2), 0.5)))
    monkeypatch.setattr(drawn, "MOST_NUMBERS", 15)
    with pytest.raises(InputError, match="16 numbers"):
        writer.finish()


@pytest.mark.parametrize(("levels", "settings"), [(64, 32), (65, 1), (1, 33)])
def test_line_06_image_headers_are_read_or_not_written(levels: int, settings: int) -> None:
    config = {f"setting {k:02d}": k for k in range(settings)}
    header = ImageHeader(
        model=ModelId("m" * 128, bytes(8)), plan=TilePlan(8, 8, 8, 8, 0), colour=0, alpha=False,
        profile=False, reduced=False, quality_step=1000, seed=2**64 - 1,
        coders=(CoderSetting("c", config),) * levels, costs=(LevelCost(0, 0, {}),) * levels,
    )  # fmt: skip
    if levels > 64 or settings > 32:
        with pytest.raises(InputError, match="a file holds"):
            header.write()
    else:
        assert ImageHeader.read(header.write()) == header
        with pytest.raises(InputError, match="128 bytes"):
            replace(header, model=ModelId("m" * 129, bytes(8))).write()


@given(st.lists(st.text("ab1/", min_size=1, max_size=7), max_size=5), st.integers(4, 20))
@settings(max_examples=100, deadline=None)
def test_line_06_names_of_pictures_are_read_or_not_written(given: list[str], total: int) -> None:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("laconic.codecs.lossless.names.MAX_NAME_BYTES", 5)
        patch.setattr("laconic.codecs.lossless.names.MAX_TOTAL_BYTES", total)
        try:
            check_names(given)
        except InputError:
            return
        fields = FieldWriter()
        write_names(given, fields)
        assert read_names(FieldReader(fields.finish()), len(given)) == given


@pytest.mark.parametrize("dtype", ["U8", "BOOL", "F32", "F4"])
def test_line_06_the_longest_runs_of_one_value_are_read(dtype: str) -> None:
    """Counts never become so sure that a byte holds more than the reader accepts."""
    data = torch.zeros(1 << 22, dtype=torch.uint8)
    numbers = len(data) * 8 // {"U8": 8, "BOOL": 8, "F32": 32, "F4": 4}[dtype]
    tensor = view_as(data, dtype, (4, numbers // 4))
    assert same(laconic.expand(laconic.shrink({"w": tensor}, lossless=True)), {"w": tensor})


def test_line_11_the_last_pattern_that_fits_counts(tmp_path: Path) -> None:
    weight = torch.randn(60, 60)
    path, out = tmp_path / "w.safetensors", tmp_path / "w.lac"
    save_file({"w": weight}, path)

    def error(*tolerances: str) -> float:
        out.unlink(missing_ok=True)
        options = [word for one in tolerances for word in ("--tolerance", one)]
        result = CliRunner().invoke(app, ["shrink", str(path), "-o", str(out), *options])
        assert result.exit_code == 0, result.output
        return float((laconic.expand(out)["w"] - weight).norm() / weight.norm())

    assert error("w=0.5", "*=0.001") <= 0.001
    assert error("*=0.001", "w=0.5") > 0.1
    assert error("w=0.5", "*=0.001", "w=0.2") > 0.1
    assert error("w=0.5", "0.001") > 0.1  # A number alone is for the rest.
    assert error("0.5") > 0.1


def folded() -> tuple[Tensor, Tensor]:
    """A first layer that takes inputs of very different size, its normalisation folded in."""
    generator = torch.Generator().manual_seed(0)
    sizes = torch.logspace(-4, 4, 60)
    weight = torch.randn(64, 60, generator=generator) / sizes
    return weight, torch.randn(500, 60, generator=generator) * sizes


@pytest.mark.parametrize(("tolerance", "least"), [(1e-5, 0.999999), (0.01, 0.99)])
def test_line_12_columns_of_very_different_size_keep_their_outputs(
    tolerance: float, least: float
) -> None:
    weight, inputs = folded()
    stored = laconic.expand(laconic.shrink({"w": weight}, tolerance=tolerance))["w"]
    outputs, own = inputs @ stored.T, inputs @ weight.T
    assert float(1 - (outputs - own).square().sum() / own.square().sum()) > least


def lost(own: Tensor, stored: Tensor, axis: int) -> float:
    """The largest share of its norm that a row (axis 1) or a column (axis 0) loses."""
    norms = [one.double().flatten(1).norm(dim=axis) for one in (stored.double() - own, own)]
    return float((norms[0] / norms[1].clamp_min(1e-300)).max())


@pytest.mark.slow
@given(
    st.sampled_from([torch.float32, torch.float64, torch.bfloat16, torch.float16]),
    st.tuples(st.integers(8, 30), st.integers(8, 30)),
    st.tuples(st.integers(0, 12), st.integers(0, 12)),
    st.sampled_from([1e-4, 0.003, 0.01, 0.1, 0.124]),
    st.integers(0, 99),
)
@settings(max_examples=60, deadline=None)
def test_line_12_no_row_or_column_loses_more_than_8_times_the_tolerance(
    dtype: torch.dtype,
    shape: tuple[int, int],
    octaves: tuple[int, int],
    tolerance: float,
    seed: int,
) -> None:
    generator = torch.Generator().manual_seed(seed)
    rows, columns = (
        2.0 ** -(span * torch.rand(side, generator=generator))
        for span, side in zip(octaves, shape, strict=True)
    )
    matrix = torch.randn(shape, generator=generator) * rows[:, None] * columns
    weight = torch.cat([matrix] * 4).to(dtype)
    stored = laconic.expand(laconic.shrink({"w": weight}, tolerance=tolerance))["w"]
    assert (stored.double() - weight.double()).norm() <= tolerance * weight.double().norm() * 1.0001
    assert max(lost(weight, stored, axis) for axis in (0, 1)) <= 8.001 * tolerance


def test_line_12_only_tensors_that_need_it_are_scaled() -> None:
    generator = torch.Generator().manual_seed(0)
    plain = torch.randn(40, 50, generator=generator)
    tensors = {"plain": plain, "columns": plain * torch.logspace(-3, 0, 50), "few": plain[:, :7]}
    tensors["few"] = tensors["few"] * torch.logspace(-3, 0, 40)[:, None]
    entries = NetworkFile.read(laconic.shrink(tensors)).entries
    assert [(e.name, e.scaled) for e in entries] == [
        ("columns", True), ("few", False), ("plain", False),
    ]  # fmt: skip
    assert not NetworkFile.read(laconic.shrink(tensors, tolerance=0.2)).entries[0].scaled


def test_line_12_a_spread_beyond_the_format_keeps_every_bit() -> None:
    weight = torch.randn(60, 60).double() * torch.logspace(-300, 0, 60).double()
    stored = laconic.expand(laconic.shrink({"w": weight}))["w"]
    large = weight.double().abs().amax(0) > 1e-150  # Squares of smaller ones are 0.
    assert lost(weight[:, large], stored[:, large], 0) <= 0.08


def test_line_12_the_report_lists_every_tensor(tmp_path: Path) -> None:
    weight = folded()[0]
    tensors = {"first.weight": weight, "bias": torch.randn(9), "c": torch.zeros(3).cfloat()}
    path, out = tmp_path / "w.safetensors", tmp_path / "w.lac"
    save_file(tensors, path)
    command = ["shrink", str(path), "-o", str(out), "--force", "--report"]
    shown = CliRunner().invoke(app, command).stdout.splitlines()
    assert [line.split()[0] for line in shown[1:]] == ["tensor", "c", "bias", "first.weight"]
    listed = json.loads(CliRunner().invoke(app, [*command, "--json"]).stdout)["tensors"]
    stored = laconic.expand(out)["first.weight"]
    assert [one["error"] for one in listed[:2]] == [0, 0]
    assert listed[2]["error"] == pytest.approx(float((stored - weight).norm() / weight.norm()))
    assert listed[2]["row"]["error"] == pytest.approx(lost(weight, stored, 1))
    assert listed[2]["column"]["error"] == pytest.approx(lost(weight, stored, 0))


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
@pytest.mark.parametrize("shape", [(1, 2501), (3, 1200)])
@pytest.mark.parametrize("tolerance", [0.02, 0.5])
def test_line_28_long_rows_are_cut_into_blocks(
    monkeypatch: pytest.MonkeyPatch, dtype: torch.dtype, shape: tuple[int, int], tolerance: float
) -> None:
    weight = torch.randn(shape, generator=torch.Generator().manual_seed(0)).to(dtype)
    tensors = {"w": weight, "signs": weight.sign()}
    whole = laconic.shrink(tensors, tolerance=tolerance)
    sizes = list[int]()
    write = quantised.write
    monkeypatch.setattr("laconic.codecs.network.blocks.BLOCK", 1000)
    monkeypatch.setattr("laconic.codecs.network.fitting.SAMPLE", 300)
    monkeypatch.setattr(
        quantised, "write", lambda s, q, *_: (sizes.append(q.size), write(s, q, *_))
    )
    data = laconic.shrink(tensors, tolerance=tolerance)
    assert max(sizes) == 1000
    assert all(entry.wide for entry in NetworkFile.read(data).entries)
    assert len(data) < 1.05 * len(whole) + 200
    stored = laconic.expand(data)
    assert torch.equal(stored["signs"], tensors["signs"])
    assert (stored["w"].double() - weight.double()).norm() <= tolerance * weight.double().norm()


def test_line_28_files_whose_long_rows_are_whole_still_decode(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    tensors = {"w": torch.randn(1, 1500), "signs": torch.randn(1, 1500).sign()}
    old = laconic.shrink(tensors, tolerance=0.02)
    expected = laconic.expand(old)
    monkeypatch.setattr("laconic.codecs.network.blocks.BLOCK", 1000)
    assert same(laconic.expand(old), expected)


def seconds_for(path: Path, count: int, repeats: int) -> float:
    """Of one core, to shrink a file of so many tensors and to expand it; the least of some runs."""
    tensors = {f"layer.{k}.w": torch.randn(8, 8) for k in range(count)}
    save_file(tensors, path)
    seconds = []
    for _ in range(repeats):
        start = time.process_time()
        back = laconic.expand(laconic.shrink(path))
        seconds.append(time.process_time() - start)
    assert same(back, tensors)
    return min(seconds)


@pytest.mark.slow
def test_line_28_time_is_linear_in_the_number_of_tensors(tmp_path: Path) -> None:
    seconds_for(tmp_path / "first.st", 2, 1)  # Compiles.
    few, many = (seconds_for(tmp_path / f"{n}.st", n, 2) for n in (100, 1000))
    assert many < 10 * 2 * few


@pytest.mark.slow
def test_line_28_17000_tensors_take_seconds(tmp_path: Path) -> None:
    few, many = (seconds_for(tmp_path / f"{n}.st", n, 1) for n in (1000, 17_000))
    assert many < 17 * 2 * few


def rare(dtype: str) -> Tensor:
    """A tensor of every byte, of a type that networks seldom have."""
    data = torch.arange(768).to(torch.uint8)
    numbers = 768 * 8 // {"F4": 4, "C64": 64}.get(dtype, 8)
    return view_as(data, dtype, (4, numbers // 4))


@pytest.mark.parametrize("dtype", ["F8_E8M0", "F8_E4M3FNUZ", "F8_E5M2FNUZ", "F4", "C64"])
@pytest.mark.parametrize("options", [{"lossless": True}, {"tolerance": 0.3}])
def test_rare_types_are_kept_bit_for_bit(
    tmp_path: Path, dtype: str, options: dict[str, object]
) -> None:
    if dtype not in TORCH_DTYPES:
        pytest.skip(f"this torch lacks {dtype}")
    tensor = rare(dtype)
    assert same(laconic.expand(laconic.shrink({"w": tensor}, **options)), {"w": tensor})
    entry = NetworkFile.read(laconic.shrink({"w": tensor})).entries[0]
    assert (entry.dtype, entry.size_bytes) == (dtype, 768)
    layout = [("w", dtype, entry.shape, entry.size_bytes)]
    (tmp_path / "w.safetensors").write_bytes(b"".join(encode_weights(layout, [tensor], {})))
    back = laconic.expand(laconic.shrink(tmp_path / "w.safetensors", **options))
    assert same(back, {"w": tensor})
    assert tuple(tensor.shape) == shape_in_torch(entry.shape, dtype)


def test_conjugated_and_negated_views_are_kept() -> None:
    plain = torch.randn(30, 30, dtype=torch.complex64)
    tensors = {"conj": plain.conj(), "neg": plain.conj().imag, "turned": plain.T}
    back = laconic.expand(laconic.shrink(tensors, lossless=True))
    assert all(torch.equal(back[name], own) for name, own in tensors.items())


def spoilt_headers() -> list[bytes]:
    """Fronts of safetensors files that the format does not allow, and too little behind."""
    entry = {"dtype": "F32", "shape": [2], "data_offsets": [0, 8]}
    bad = [
        [],
        {"w": []},
        {"w": {**entry, "more": 1}},
        {"w": {**entry, "dtype": "F31"}},
        {"w": {**entry, "dtype": ["F32"]}},
        {"w": {**entry, "shape": [-2]}},
        {"w": {**entry, "shape": [True, 2]}},
        {"w": {**entry, "shape": [3]}},
        {"w": {**entry, "data_offsets": [8, 16]}},
        {"w": {**entry, "data_offsets": [8, 0]}},
        {"w": entry, "v": entry},
        {"__metadata__": {"note": 3}, "w": entry},
        {"w": {"dtype": "F4", "shape": [16, 1], "data_offsets": [0, 8]}},
    ]
    headers = [json.dumps(one).encode() for one in bad]
    twice = json.dumps({"w": entry})[:-1] + ', "w"' + json.dumps({"w": entry})[4:]
    nested = b'{"w":' * 100_000
    fronts = [struct.pack("<Q", len(h)) + h for h in [*headers, twice.encode(), nested, b"\xff{}"]]
    good = json.dumps({"w": entry}).encode()
    short = struct.pack("<Q", len(good)) + good
    return [b"", b"1234567", struct.pack("<Q", 1 << 40), short[:-1], short + b"1", *fronts]


@pytest.mark.parametrize("number", range(len(spoilt_headers())))
def test_damaged_safetensors_files_are_refused(tmp_path: Path, number: int) -> None:
    path = tmp_path / "w.safetensors"
    path.write_bytes(spoilt_headers()[number] + bytes(8 if number > 4 else 0))
    with pytest.raises(InputError, match=r"w\.safetensors"):
        laconic.shrink(path)


def test_a_file_that_becomes_shorter_is_named(tmp_path: Path) -> None:
    path = tmp_path / "w.safetensors"
    save_file({"w": torch.zeros(100)}, path)
    source, _ = open_weights(path)
    path.write_bytes(path.read_bytes()[:-4])
    with pytest.raises(InputError, match="cut short"):
        network.shrink(source, {}, 0.0)


def variety() -> dict[str, Tensor]:
    """Tensors of every kind, some large enough for other threads, two the same."""
    generator = torch.Generator().manual_seed(0)
    large = torch.randn(300, 400, generator=generator)
    tensors = {f"bf16 {k}": (large * (k + 1)).roll(k, 1).bfloat16() for k in range(4)}
    tensors |= {f"f32 {k}": large.roll(k, 0) * torch.logspace(-2 * k, 0, 400) for k in range(3)}
    tensors |= {"same": large.clone(), "signs": large.sign(), "half": large.half()}
    return tensors | {f"small {k}": large[k] for k in range(20)}


@pytest.mark.slow
@pytest.mark.parametrize("tolerance", [0.0, 0.01])
def test_threads_change_no_byte(tolerance: float) -> None:
    source = network.named(variety())
    files = [network.shrink(source, {}, tolerance, threads=threads) for threads in (1, 2, 5)]
    assert files[0] == files[1] == files[2]
    opened = NetworkFile.read(files[0])
    one, many = ({e.name: t for e, t in opened.tensors(threads)} for threads in (1, 4))
    assert same(one, many)
    assert tolerance or same(one, {name: variety()[name] for name in one})


@pytest.mark.slow
@pytest.mark.parametrize("tolerance", [0.003, 0.05])
def test_threads_of_torch_change_no_byte(tolerance: float) -> None:
    before, tensors = torch.get_num_threads(), variety()
    files = []
    try:
        for threads in (1, 3):
            torch.set_num_threads(threads)
            files.append(laconic.shrink(tensors, tolerance=tolerance))
            assert torch.get_num_threads() == threads
    finally:
        torch.set_num_threads(before)
    assert files[0] == files[1]


@pytest.mark.slow
def test_faults_are_raised_in_order_on_any_number_of_threads() -> None:
    tensors = variety()
    tensors["bf16 2"][0, 0] = tensors["bf16 3"][0, 0] = float("nan")
    for threads in (1, 3):
        with pytest.raises(InputError, match="bf16 2"):
            network.shrink(network.named(tensors), {}, 0.01, threads=threads)


def test_results_come_in_order_and_memory_is_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ahead, "HELD_BYTES", 10)
    monkeypatch.setattr(ahead, "SMALL_BYTES", 2)
    asked = list[int]()

    def jobs() -> Iterator[tuple[int, Callable[[], int]]]:
        for k in range(30):
            asked.append(k)
            yield 1 + k % 5, partial(int, k)

    for k, result in enumerate(ahead.run_ahead(jobs(), 3)):
        assert result == k
        assert len(asked) <= k + 11


@pytest.mark.slow
def test_lossless_bf16_is_faster_than_20_megabytes_a_second() -> None:
    """Seconds of processor time on one core: others may be busy while this runs."""
    weight = torch.randn(2048, 2048).mul(0.02).bfloat16()
    laconic.expand(laconic.shrink({"w": weight[:64]}, lossless=True))
    megabytes = weight.numel() * 2 / 1e6
    start = time.process_time()
    data = network.shrink(network.named({"w": weight}), {}, 0.0, threads=1)
    middle = time.process_time()
    list(NetworkFile.read(data).tensors(threads=1))
    end = time.process_time()
    assert megabytes / (middle - start) > 20
    assert megabytes / (end - middle) > 20
