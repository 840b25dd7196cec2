"""What is sent is received, to the last bit, whatever the receiver computes in; in part, too."""

from collections.abc import Callable

import pytest
import torch

from laconic.codecs.image.decoder import DTYPES, LevelReader, Runtime, decode_latents
from laconic.codecs.image.encoder import LayerWriter, encode_latents
from laconic.coding.random import SharedRandomness
from laconic.coding.relative_entropy import ladder_coders
from laconic.container import Section
from laconic.models.sliced.ladder import SlicedLadder

HEIGHT, WIDTH, SHARED = 24, 32, SharedRandomness(1)


def send(model: SlicedLadder, coder: str, writer: LayerWriter) -> list[torch.Tensor]:
    coders, sender = ladder_coders(coder, model.levels), Runtime(model, "float32", 1)
    with sender.running():
        context, x = model.context((HEIGHT, WIDTH), 700, 1000), torch.rand(1, 3, HEIGHT, WIDTH)
        features = model.encode(x, context)
        sent, receipts = encode_latents(
            model, sender.exact_prior, coders, features, context, writer.stream, SHARED
        )
    assert sum(receipt.ideal_bits for receipt in receipts) > 1000
    return sent


def receive(
    model: SlicedLadder, coder: str, layers: list[tuple[Section, int]], dtype: str = "float32"
) -> tuple[list[torch.Tensor], int]:
    receiver = Runtime(model, dtype, 2)
    reader = LevelReader(ladder_coders(coder, model.levels), layers, SHARED)
    with receiver.running():
        where = receiver.model.context((HEIGHT, WIDTH), 700, 1000, receiver.dtype)
        latents = decode_latents(receiver.exact_prior, model.levels, where, reader)
    return latents, reader.levels


@pytest.mark.parametrize("coder", ["trellis", "rejection", "greedy-poisson-bisecting"])
def test_an_integer_prior_makes_latents_equal_everywhere(
    small_ladder: Callable[[], SlicedLadder], coder: str
) -> None:
    model, writer = small_ladder(), LayerWriter()
    sent = send(model, coder, writer)
    (message,) = writer.finish()
    assert writer.sizes == (model.levels,)
    for dtype in DTYPES:
        received, levels = receive(model, coder, [(Section("", message), model.levels)], dtype)
        assert levels == model.levels
        assert all(torch.equal(a, b.float()) for a, b in zip(sent, received, strict=True))


@pytest.mark.parametrize("least_bytes", [0, 300, 1 << 20])
def test_a_prefix_has_the_first_levels(
    small_ladder: Callable[[], SlicedLadder], least_bytes: int
) -> None:
    """Whichever way levels are cut into layers: what is read is right, the rest is the mean."""
    model, writer = small_ladder(), LayerWriter(least_bytes=least_bytes)
    sent, whole = send(model, "trellis", writer), writer.finish()
    assert (len(writer.sizes) == model.levels) == (least_bytes == 0)
    assert (len(writer.sizes) == 1) == (least_bytes == 1 << 20)
    seen = set()
    for cut in range(0, sum(map(len, whole)) + 1, 97):
        layers, left = [], cut
        for data, size in zip(whole, writer.sizes, strict=True):
            part = data[: max(left, 0)]
            layers.append((Section("", part, len(part) == len(data)), size))
            left -= len(data)
        received, levels = receive(model, "trellis", layers)
        seen.add(levels)
        for level in range(levels):
            assert torch.equal(sent[level], received[level])
        if levels == 0:
            assert not received[0].any()
    assert {0, 1, 2} <= seen


def test_the_layers_of_later_tiles_are_those_of_the_first() -> None:
    writer = LayerWriter((2, 1))
    streams = [writer.stream(level) for level in range(3)]
    assert streams[0] is streams[1]
    assert streams[1] is not streams[2]
    assert writer.sizes == (2, 1)
