"""The one loop: what is encoded is decoded, to the last bit, whatever the receiver computes in."""

from collections.abc import Callable

import pytest
import torch

from laconic.codecs.image.decoder import DTYPES, Runtime
from laconic.codecs.image.latents import decode_latents, encode_latents
from laconic.coding.queue.stream import QueueDecoder, QueueEncoder
from laconic.coding.random import SharedRandomness
from laconic.coding.relative_entropy import ladder_coders
from laconic.models.sliced.ladder import SlicedLadder


@pytest.mark.parametrize("coder", ["trellis", "rejection", "greedy-poisson-bisecting"])
def test_an_integer_prior_makes_latents_equal_everywhere(
    small_ladder: Callable[[], SlicedLadder], coder: str
) -> None:
    model = small_ladder()
    coders = ladder_coders(coder, model.levels)
    sender, stream = Runtime(model, "float32", 1), QueueEncoder()
    with sender.running():
        context, x = model.context((24, 32), 700, 1000), torch.rand(1, 3, 24, 32)
        sent, receipts = encode_latents(
            model, sender.exact_prior, coders, x, context, stream, SharedRandomness(1)
        )
    assert sum(receipt.ideal_bits for receipt in receipts) > 1000
    message = stream.finish()
    for dtype in DTYPES:
        receiver = Runtime(model, dtype, 2)
        with receiver.running():
            where = receiver.model.context((24, 32), 700, 1000, receiver.dtype)
            stream_in = QueueDecoder(message)
            received = decode_latents(
                receiver.exact_prior, coders, where, stream_in, SharedRandomness(1)
            )
        assert all(torch.equal(a, b.float()) for a, b in zip(sent, received, strict=True))
