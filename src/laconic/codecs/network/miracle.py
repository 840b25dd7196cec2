"""MIRACLE's coding: block by block, the other weights trained further after each block.

A block of weights is encoded as a draw from its posterior, and is frozen at that draw; the weights
that are not encoded yet keep training.

Source: Havasi, Peharz & Hernández-Lobato 2018, there with blocks of equal KL, a dozen bits each,
drawn by chance from all layers; Flamich 1.7.3.
"""

import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Final

from torch import nn
from torch.distributions import Normal

from laconic.codecs.network.codec import named, shrink
from laconic.codecs.network.drawn import DrawsWriter, block_rows
from laconic.coding.relative_entropy import Receipt, RelativeEntropyCoder
from laconic.coding.relative_entropy.blocks.trellis import TrellisCoder
from laconic.errors import InputError
from laconic.training.modes import restored_on_failure
from laconic.weights.convert import plain
from laconic.weights.layers import ProbabilisticLayer
from laconic.weights.methods.miracle import NATS_PER_BYTE, DrawnTensor, MiraclePosterior

CODER: Final = TrellisCoder(outlier_bits=20)
"""Weights of 12 to 20 bits are few, and cheaper on the path than as numbers of their own."""


def _ignore(name: str, receipt: Receipt) -> None:
    pass


def shrink_drawn(
    net: nn.Module,
    refine: Callable[[str], None] | None = None,
    block_bytes: float = math.inf,
    order: Sequence[str] = (),
    coder: RelativeEntropyCoder = CODER,
    seed: int = 0,
    metadata: Mapping[str, str] | None = None,
    report: Callable[[str, Receipt], None] = _ignore,
) -> bytes:
    """Write the .lac file of a network whose weights were trained by the method "miracle".

    The network is changed in place: at the end its weights are those of the file, bit for bit.
    Tensors that are no weights of converted layers are kept bit for bit. If anything fails, such as
    `refine`, the network is restored.

    Args:
        net: the converted network.
        refine: trains the weights that are not encoded yet, some steps; called with the name of the
            layer after each block of its weights, but the last. Encoded numbers take no gradients.
            None: no training.
        block_bytes: KL of the blocks that weights are cut into, as nearly as whole rows allow.
        order: names of all converted layers in the order of encoding; none: as in the network.
        coder: of the draws.
        seed: of the shared randomness; another one gives another draw.
        metadata: free text by name, kept in the file.
        report: called for every tensor with its name and what it cost.

    Returns:
        The file; `laconic.expand` gives the `state_dict` of `plain(net)`.

    Raises:
        InputError: the network was made probabilistic by another method, is encoded already, has
            NaN weights, or `order` does not name every layer once.
    """
    writer = DrawsWriter(coder, seed)
    parts = _parts(net, order)
    with restored_on_failure([net]):
        for place, (layer, part, tensor) in enumerate(parts):
            rest = parts[place + 1 :]
            for receipt in _encode(writer, f"{layer}.{part}", tensor, block_bytes):
                report(f"{layer}.{part}", receipt)
                if refine is not None and part == "weight" and (rest or not tensor.encoded.all()):
                    refine(layer)
        draws = writer.finish()
        drawn = {entry.name for entry in draws.entries}
        others = {key: value for key, value in plain(net).state_dict().items() if key not in drawn}
        return shrink(named(others), metadata or {}, 0.0, draws=draws)


def count_blocks(net: nn.Module, block_bytes: float) -> int:
    """In how many blocks `shrink_drawn` would encode a network's weights, at their present KL.

    Args:
        net: the converted network, not encoded yet.
        block_bytes: as `shrink_drawn` takes it.

    Raises:
        InputError: as `shrink_drawn`.
    """
    parts = _parts(net, ())
    return sum(_blocks(tensor, block_bytes) for _, part, tensor in parts if part == "weight")


def _blocks(tensor: DrawnTensor, block_bytes: float) -> int:
    """As many as its KL requires, each of a row at least."""
    wanted = float(tensor.nats().detach()) / NATS_PER_BYTE / block_bytes
    return min(len(tensor.mean), max(1, round(wanted)))


def _parts(net: nn.Module, order: Sequence[str]) -> list[tuple[str, str, DrawnTensor]]:
    """Layer, "bias" or "weight", and tensor; biases first: weights can compensate for them."""
    layers = {n: m for n, m in net.named_modules() if isinstance(m, ProbabilisticLayer)}
    order = tuple(order) or tuple(layers)
    if not layers or sorted(order) != sorted(layers):
        raise InputError(f"the order must name each of {', '.join(layers) or 'no layers'} once")
    parts = []
    for name in order:
        posterior = layers[name].posterior
        if not isinstance(posterior, MiraclePosterior):
            raise InputError(f'{name!r} was not converted by the method "miracle"')
        for part, tensor in sorted(posterior.drawn.items()):
            if bool(tensor.encoded.any()):
                raise InputError(f"{name}.{part} is encoded already: convert and train anew")
            parts.append((name, part, tensor))
    return parts


def _encode(
    writer: DrawsWriter, name: str, tensor: DrawnTensor, block_bytes: float
) -> Iterator[Receipt]:
    """Encode a tensor; after each block, between two steps of the iterator, it may be trained."""
    shape, blocks = tuple(tensor.mean.shape), _blocks(tensor, block_bytes)
    entry = writer.begin(name, shape, float(tensor.prior_scale), blocks)
    for block in block_rows(entry):
        target = tensor.target
        q = Normal(target.loc[block], target.scale[block], validate_args=False)
        draw, receipt = writer.encode(q)
        tensor.fix(draw, receipt.bits, entry.prior_scale)
        yield receipt
