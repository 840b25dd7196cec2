"""Draws in network files: round trip, size against the KL, damage, MIRACLE's coding as a whole."""

import subprocess
import sys
import zlib
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor, nn
from torch.distributions import Normal

import laconic
from laconic.codecs.network import drawn
from laconic.codecs.network.codec import named, shrink
from laconic.codecs.network.drawn import MOST_BITS, DrawsWriter
from laconic.codecs.network.file import NetworkFile
from laconic.codecs.network.manifest import DRAWN, Entry, Method, read_manifest, write_manifest
from laconic.codecs.network.miracle import CODER, count_blocks, shrink_drawn
from laconic.coding.relative_entropy import CODERS, Receipt
from laconic.coding.relative_entropy.blocks.trellis import TrellisCoder
from laconic.container import Section, pack
from laconic.errors import CorruptFileError, InputError, LaconicError, UnsupportedFileError
from laconic.weights import Penalty, convert, plain
from laconic.weights.methods.miracle import DrawnTensor, MiraclePosterior

QUICK = TrellisCoder(state_bits=10, outlier_bits=20)


def posterior(rows: int = 60, columns: int = 80, seed: int = 0) -> Normal:
    """Most weights near their prior N(0, 0.1²), some encoded with several bits."""
    generator = torch.Generator().manual_seed(seed)
    mean = 0.1 * torch.randn(rows, columns, generator=generator)
    precise = torch.rand(rows, columns, generator=generator) ** 3
    scale = 0.1 * torch.exp(-3 * precise)
    return Normal(mean * (1 - (scale / 0.1) ** 2).sqrt(), scale)


def written(blocks: int = 1, coder: TrellisCoder = QUICK) -> tuple[bytes, Tensor, Receipt]:
    writer, q = DrawsWriter(coder, seed=3), posterior()
    entry = writer.begin("w", (60, 80), 0.1, blocks)
    size = 60 // blocks
    parts = [
        writer.encode(Normal(q.loc[first : first + size], q.scale[first : first + size]))
        for first in range(0, 60, size)
    ]
    draw = torch.cat([part for part, _ in parts])
    data = shrink(named({"other": torch.ones(3)}), {"note": "x"}, 0.0, draws=writer.finish())
    assert NetworkFile.read(data).entries[0] == entry
    return data, draw, parts[0][1]


@pytest.mark.parametrize("blocks", [1, 4])
def test_a_draw_comes_back_bit_for_bit(blocks: int) -> None:
    data, draw, _ = written(blocks)
    back = laconic.expand(data)
    assert torch.equal(back["w"], draw)
    assert back["w"].dtype == torch.float32
    assert torch.equal(back["other"], torch.ones(3))
    assert written(blocks)[0] == data


@pytest.mark.slow
def test_another_process_reads_the_same(tmp_path: Path) -> None:
    data, draw, _ = written(2)
    (tmp_path / "w.lac").write_bytes(data)
    code = (
        "import sys, laconic\n"
        f"w = laconic.expand({str(tmp_path / 'w.lac')!r})['w']\n"
        "sys.stdout.write(w.numpy().tobytes().hex())\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, timeout=120, check=True
    )
    assert done.stdout == draw.numpy().tobytes().hex()


def test_the_section_is_as_long_as_the_kl_says() -> None:
    """4 % more by choice, the coder's name, and not a map for every tile."""
    data, _, receipt = written()
    section = NetworkFile.read(data).file.named(DRAWN)[0]
    assert receipt.ideal_bits > 4000
    assert 8 * len(section) == pytest.approx(1.04 * receipt.ideal_bits, rel=0.01, abs=240)
    assert receipt.bits == pytest.approx(1.04 * receipt.ideal_bits, rel=0.01, abs=40)


def test_draws_lie_as_near_to_the_mean_as_the_posterior_says() -> None:
    """Mean squared distance in the posterior's scales over 4,800 weights: 1, within 10 %.

    Chance makes 2 % (one standard deviation), the coder's choice some more; that of a register of
    10 bits 20 %.
    """
    _, draw, _ = written(coder=CODER)
    q = posterior()
    assert float(((draw - q.loc) / q.scale).square().mean()) == pytest.approx(1, abs=0.1)


def test_draws_are_not_biased_outwards() -> None:
    """log q/p has half the sum of squares; without the half a mean of 0.8 becomes 0.852.

    4,000 draws: one standard error is 0.006.
    """
    writer = DrawsWriter(CODER)
    writer.begin("w", (4000,), 1.0)
    draw, _ = writer.encode(Normal(torch.full((4000,), 0.8), 0.35))
    assert float(draw.mean()) == pytest.approx(0.8, abs=0.02)
    assert float(draw.std()) == pytest.approx(0.35, rel=0.05)


@pytest.mark.parametrize("name", ["importance", "beam", "a-star-bisecting"])
def test_other_coders_work_too(name: str) -> None:
    writer, q = DrawsWriter(CODERS[name]()), posterior(9, 20)
    writer.begin("w", (9, 20), 0.1)
    draw, _ = writer.encode(q)
    back = laconic.expand(shrink({}, {}, 0.0, draws=writer.finish()))
    assert torch.equal(back["w"], draw)


def test_impossible_tensors_are_refused() -> None:
    writer = DrawsWriter(QUICK)
    for shape, scale, blocks in (
        ((3, 0), 0.1, 1),
        ((), 0.1, 1),
        ((3, 2), 0.0, 1),
        ((3, 2), float("nan"), 1),
        ((3, 2), 0.1, 4),
        ((3, 2), 0.1, 0),
    ):
        with pytest.raises(InputError):
            writer.begin("w", shape, scale, blocks)
    writer.begin("w", (3, 2), 0.1)
    with pytest.raises(InputError, match="'w'"):
        writer.encode(Normal(torch.full((3, 2), float("nan")), 1.0, validate_args=False))


def test_very_many_numbers_in_few_bytes_are_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    """By the writer, since no reader would take them."""
    data = written()[0]
    monkeypatch.setattr(drawn, "NUMBERS_PER_BYTE", 5)
    with pytest.raises(InputError, match="otherwise"):
        written()
    with pytest.raises(CorruptFileError, match="too many"):
        laconic.expand(data)


def test_hardly_any_or_very_many_bits() -> None:
    """A posterior that is its prior costs nothing to speak of; one of 30 bits a weight arrives."""
    writer = DrawsWriter(QUICK)
    writer.begin("free", (40, 50), 0.1)
    _, receipt = writer.encode(Normal(torch.zeros(40, 50), 0.1))
    assert receipt.bits < 40
    writer.begin("dear", (40,), 0.1)
    sharp = Normal(torch.linspace(-0.3, 0.3, 40), 1e-7)
    draw, _ = writer.encode(sharp)
    assert float((draw - sharp.loc).abs().max()) < 2e-3
    assert MOST_BITS > 8
    back = laconic.expand(shrink({}, {}, 0.0, draws=writer.finish()))
    assert torch.equal(back["dear"], draw)


@pytest.mark.slow
def test_damage_ends_in_a_laconic_error() -> None:
    """100 flips, cuts and splices with checksums mended."""
    file = NetworkFile.read(written(3)[0])
    generator = np.random.default_rng(0)
    names = [section.name for section in file.file.sections]
    for trial in range(100):
        sections = [bytearray(section.data) for section in file.file.sections]
        part = sections[trial % 2]
        if part is sections[0]:
            whole = bytearray(zlib.decompress(bytes(part)))
            whole[int(generator.integers(len(whole)))] ^= 1 << int(generator.integers(8))
            part[:] = zlib.compress(bytes(whole))
        elif trial % 3:
            head = 40 if trial % 4 == 1 else len(part)
            part[int(generator.integers(head))] ^= 1 << int(generator.integers(8))
        else:
            del part[int(generator.integers(len(part))) :]
        damaged = [Section(n, bytes(d)) for n, d in zip(names, sections, strict=True)]
        try:
            tensors = laconic.expand(pack("network", file.file.header, damaged))
        except LaconicError:
            continue
        assert all(tensor.numel() < 2**24 for tensor in tensors.values())


def test_lists_and_sections_must_agree() -> None:
    file = NetworkFile.read(written()[0])
    sections = {section.name: section for section in file.file.sections}
    header = file.file.header
    manifest, draws, other = sections.values()
    for wrong in ([manifest, other], [manifest, draws, draws, other]):
        with pytest.raises(CorruptFileError, match="'drawn'"):
            laconic.expand(pack("network", header, wrong))
    newer = Section(DRAWN, draws.data.replace(bytes([23]), bytes([0, 3]) + b"new", 1))
    with pytest.raises(UnsupportedFileError, match="'new'"):
        laconic.expand(pack("network", header, [manifest, newer, other]))
    good = Entry("w", "F32", (3, 4), Method.DRAWN, prior_scale=0.5, blocks=3)
    assert read_manifest(write_manifest([good], {}))[0] == (good,)
    for shape, dtype, scale, blocks in (
        ((3, 4), "F16", 0.5, 1),
        ((3, 4), "F32", -0.5, 1),
        ((3, 4), "F32", float("inf"), 1),
        ((3, 0), "F32", 0.5, 1),
        ((3, 4), "F32", 0.5, 4),
        ((3, 4), "F32", 0.5, 0),
        ((), "F32", 0.5, 1),
    ):
        bad = Entry("w", dtype, shape, Method.DRAWN, prior_scale=scale, blocks=blocks)
        with pytest.raises(CorruptFileError):
            read_manifest(write_manifest([bad], {}))


def test_files_without_draws_stay_as_they_were() -> None:
    data = shrink(named({"w": torch.ones(3)}), {}, 0.0)
    assert [section.name for section in NetworkFile.read(data).file.sections] == [
        "manifest",
        "tensor",
    ]


def network() -> tuple[nn.Sequential, Penalty]:
    """As training leaves it: means and scales of several bits, other parameters beside."""
    torch.manual_seed(0)
    net = nn.Sequential(nn.Conv2d(1, 4, 3), nn.BatchNorm2d(4), nn.Flatten(), nn.Linear(144, 10))
    with pytest.warns(UserWarning, match="left as they are: 1"):
        penalty = convert(net, "miracle")
    for layer in penalty.layers.values():
        assert isinstance(layer.posterior, MiraclePosterior)
        for part in layer.posterior.drawn.values():
            sharpen(part)
    return net, penalty


def sharpen(part: DrawnTensor) -> None:
    with torch.no_grad():
        part.log_scale.copy_(part.prior_scale.log() - 2 * torch.rand_like(part.mean))


@pytest.mark.parametrize("block_bytes", [1e9, 60.0])
def test_a_network_is_encoded_block_by_block(block_bytes: float) -> None:
    """The file's weights are the network's own; what was encoded never moves again."""
    net, penalty = network()
    calls: list[str] = []
    costs: dict[str, float] = {}

    def refine(layer: str) -> None:
        calls.append(layer)
        with torch.no_grad():
            for parameter in net.parameters():
                parameter += 0.001 * torch.randn_like(parameter)

    def report(name: str, receipt: Receipt) -> None:
        costs[name] = costs.get(name, 0.0) + receipt.bits

    planned = count_blocks(net, block_bytes)
    data = shrink_drawn(net, refine, block_bytes, coder=QUICK, metadata={"a": "b"}, report=report)
    own = plain(net).state_dict()
    back = laconic.expand(data)
    assert back.keys() == own.keys()
    assert all(torch.equal(back[name], tensor) for name, tensor in own.items())
    assert set(costs) == {"0.weight", "0.bias", "3.weight", "3.bias"}
    file = NetworkFile.read(data)
    section = file.file.named(DRAWN)[0]
    assert 8 * len(section) == pytest.approx(sum(costs.values()), abs=250)
    assert float(penalty.prior.kl_bytes) == pytest.approx(sum(costs.values()) / 8, rel=1e-3)
    entries = {entry.name: entry.blocks for entry in file.entries}
    assert len(calls) == entries["0.weight"] + entries["3.weight"] - 1 == planned - 1
    assert (entries["3.weight"] > 1) == (block_bytes < 1000)
    assert file.describe().sections[DRAWN] == 8 * len(section)
    assert file.metadata == {"a": "b"}


def test_wrong_networks_are_refused() -> None:
    net, _penalty = network()
    with pytest.raises(InputError, match="order"):
        shrink_drawn(net, order=["0"])
    shrink_drawn(net, order=["3", "0"], coder=QUICK)
    with pytest.raises(InputError, match="encoded already"):
        shrink_drawn(net)
    other = nn.Sequential(nn.Linear(3, 3))
    with pytest.raises(InputError, match="no layers"):
        shrink_drawn(other)
    convert(other, "sparse-vd")
    with pytest.raises(InputError, match="miracle"):
        shrink_drawn(other)
    assert CODER.id == "trellis"


def test_released_draws_decode_for_ever(
    check_golden: Callable[[str, Callable[[], bytes]], None],
) -> None:
    check_golden("drawn", lambda: shrink_drawn(network()[0], coder=QUICK, block_bytes=100))
