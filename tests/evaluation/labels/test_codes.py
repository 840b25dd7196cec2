"""Files of labels decode to the labels, or are refused."""

import math

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from torch import Tensor, nn

import laconic
from laconic.codecs.network.codec import named, shrink
from laconic.coding.stack.ans import Stack
from laconic.errors import FileError, InputError
from laconic.evaluation.labels.codes import (
    LabelFile,
    block_ends,
    decode,
    encode_prequential,
    encode_with_weights,
)
from laconic.evaluation.labels.tables import (
    best_sharpness,
    integer_logits,
    tables_of,
    uniform,
)

CLASSES = 3


def make() -> nn.Sequential:
    torch.manual_seed(0)
    return nn.Sequential(nn.Flatten(), nn.Linear(4, 6), nn.ReLU(), nn.Linear(6, CLASSES))


def task(count: int = 300) -> tuple[Tensor, NDArray[np.int64]]:
    """Three clouds of points."""
    generator = torch.Generator().manual_seed(1)
    labels = torch.randint(0, CLASSES, (count,), generator=generator)
    x = torch.randn(count, 2, 2, generator=generator)
    x[:, 0, 0] += 3 * labels
    return x, labels.numpy()


def learn(inputs: Tensor, labels: NDArray[np.int64]) -> nn.Module:
    """A few steps of plain gradient descent."""
    net, targets = make(), torch.from_numpy(labels)
    for _ in range(30):
        loss = nn.functional.cross_entropy(net(inputs), targets)
        gradients = torch.autograd.grad(loss, list(net.parameters()))
        with torch.no_grad():
            for parameter, gradient in zip(net.parameters(), gradients, strict=True):
                parameter -= 0.3 * gradient
    return net


def test_labels_behind_weights_decode() -> None:
    inputs, labels = task()
    net = learn(inputs, labels)
    network = shrink(named(net.state_dict()), {}, 0.05)
    data = encode_with_weights(network, make, inputs, labels, CLASSES)
    assert np.array_equal(decode(data, inputs, make=make), labels)
    received = make()
    laconic.expand(network, into=received)
    logits = integer_logits(received, inputs)
    bits = tables_of(logits, LabelFile.read(data).sharpness[0]).bits(labels)
    assert len(data) - len(network) - bits / 8 < 60
    assert bits < 0.5 * len(labels) * math.log2(CLASSES)


def test_prequential_labels_decode_and_take_less_than_alike() -> None:
    inputs, labels = task()
    ends = block_ends(300, 20, 2.0)
    data = encode_prequential(learn, ends, inputs, labels, CLASSES)
    assert np.array_equal(decode(data, inputs, learn=learn), labels)
    assert len(data) - 40 < 0.7 * len(labels) * math.log2(CLASSES) / 8


@settings(max_examples=20, deadline=None)
@given(
    logits=st.lists(
        st.lists(st.integers(-(2**24), 2**24), min_size=4, max_size=4), min_size=1, max_size=30
    ),
    sharpness=st.integers(1, 255),
    seed=st.integers(0, 1000),
)
def test_any_tables_carry_any_labels(logits: list[list[int]], sharpness: int, seed: int) -> None:
    tables = tables_of(torch.tensor(logits, dtype=torch.float64), sharpness)
    labels = np.random.default_rng(seed).integers(0, 4, len(logits))
    stack = Stack()
    tables.push(stack, labels)
    assert stack.bits == pytest.approx(tables.bits(labels), abs=0.02 * len(labels) + 0.1)
    received = Stack.from_bytes(stack.to_bytes())
    assert np.array_equal(tables.pop(received), labels)
    assert received.empty


def test_tables_are_the_softmax() -> None:
    logits = torch.randn(50, 5, dtype=torch.float64) * 3
    tables = tables_of(torch.floor(logits * 2**16), 16)
    found = torch.from_numpy(tables.counts / tables.counts.sum(1, keepdims=True))
    torch.testing.assert_close(found, torch.softmax(logits, 1), rtol=0.01, atol=2e-6)
    assert (uniform(4, 3).counts == 1).all()


def test_integer_logits_are_those_of_the_network() -> None:
    inputs, labels = task(20)
    net = learn(inputs, labels)
    with torch.no_grad():
        expected = net(inputs)
    torch.testing.assert_close(
        (integer_logits(net, inputs) / 2**16).float(), expected, rtol=0, atol=2e-3
    )
    assert torch.equal(integer_logits(net, inputs)[:7], integer_logits(net, inputs[:7]))


def test_the_best_sharpness_takes_the_fewest_bits() -> None:
    inputs, labels = task()
    logits = integer_logits(learn(inputs, labels), inputs)
    best = best_sharpness(logits, labels)
    others = [tables_of(logits, one).bits(labels) for one in (2, 8, 16, 40, 128)]
    assert tables_of(logits, best).bits(labels) <= min(others)


def test_other_inputs_or_training_are_refused_or_give_other_labels() -> None:
    """A receiver whose training differs must not take what it decodes for the labels."""
    inputs, labels = task()
    data = encode_prequential(learn, [20, 100, 300], inputs, labels, CLASSES)

    def other(x: Tensor, y: NDArray[np.int64]) -> nn.Module:
        net = learn(x, y)
        with torch.no_grad():
            net[1].weight.mul_(-1.0)
        return net

    with pytest.raises(FileError, match=r"the labels do not end|the message ends before"):
        decode(data, inputs, learn=other)


def test_what_cannot_be_coded_has_one_clear_line() -> None:
    inputs, labels = task(30)
    data = encode_prequential(learn, [10, 30], inputs, labels, CLASSES)
    for call, message in (
        (lambda: decode(data, inputs[:9], learn=learn), "the file has 30 labels, and there are 9"),
        (lambda: decode(data, inputs), "decoded with the sender's `learn`: give it"),
        (lambda: encode_prequential(learn, [10, 9, 30], inputs, labels, 3), "blocks end at"),
        (lambda: encode_prequential(learn, [10, 30], inputs, labels + 1, 3), "from 0 to 2"),
        (lambda: encode_prequential(learn, [10, 30], inputs, labels[:5], 3), "for 30 inputs"),
        (lambda: block_ends(10, 0, 2.0), "blocks from 0 growing by 2"),
    ):
        with pytest.raises(InputError, match=message):
            call()


def test_damage_is_found() -> None:
    inputs, labels = task(60)
    data = encode_prequential(learn, [10, 60], inputs, labels, CLASSES)
    for place in range(0, len(data), 3):
        damaged = bytearray(data)
        damaged[place] ^= 16
        with pytest.raises(FileError):
            decode(bytes(damaged), inputs, learn=learn)
    for cut in (0, 5, len(data) - 1):
        with pytest.raises(FileError):
            decode(data[:cut], inputs, learn=learn)
