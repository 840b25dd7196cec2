"""Which channels of a network's tensors are constant, tied to each other, and read by anyone.

Constants flow forward: a row of zeros emits its bias, whatever the input. Need flows backward: a
channel that meets only columns of zeros need not be computed. A *space* holds the tensors whose
channels stand and fall together: a layer's outputs, what acts on them number by number, and all
terms of a sum.
"""

from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, fx, nn

from laconic.weights.base import SUPPORTED
from laconic.weights.tracing import (
    BATCH_NORMS,
    BINARY,
    DROPOUT,
    ELEMENTWISE,
    FLATTENING,
    JOINING,
    MEANS,
    MIXING,
    WITHIN_CHANNELS,
    acts_on_rank,
    asks_for_size_only,
    averages_positions,
    drops_nothing,
    own_module,
    run_alone,
    target_of,
    tensors_of,
)


class Space:
    """Tensors whose channels stand and fall together.

    Args:
        size: number of channels.
        device: of the masks.

    Attributes:
        need: which channels must be computed; bool, shape `(size,)`.
        parts: for flattened and joined tensors: what they consist of in turn, and for every
            feature of such a part the channel there that it comes from.
    """

    def __init__(self, size: int, device: torch.device) -> None:
        self.need = torch.zeros(size, dtype=torch.bool, device=device)
        self.parts: list[tuple[Value, Tensor]] = []

    @property
    def present(self) -> Tensor:
        """Which channels the smaller network has; at least one, so that it still runs."""
        if self.parts:
            return torch.cat([part.space.present[channels] for part, channels in self.parts])
        if bool(self.need.any()):
            return self.need
        first = self.need.clone()
        first[0] = True
        return first

    def keep(self) -> None:
        """Somebody reads every channel."""
        self.need[:] = True

    def keep_parts(self) -> None:
        """Make what this consists of as whole as this: its channels cannot be chosen freely."""
        if self.parts:
            self.keep()
        for part, _ in self.parts:
            part.space.keep()
        self.parts = []

    def ask_parts(self) -> None:
        """Hand the need on to what this consists of."""
        sizes = [len(channels) for _, channels in self.parts]
        if sizes:
            pieces = torch.split(self.need, sizes)
            for (part, channels), need in zip(self.parts, pieces, strict=True):
                part.space.need[channels[need]] = True


@dataclass(eq=False)
class Value:
    """What is known of one tensor of the forward pass.

    Attributes:
        shape: on the example.
        axis: where its channels stand.
        space: the channels, with all that is tied to them.
        constant: what each channel holds at every position of every input, NaN where it varies.
    """

    shape: tuple[int, ...]
    axis: int
    space: Space
    constant: Tensor


@dataclass(eq=False)
class Layer:
    """A linear or convolutional layer that may lose rows and columns.

    Attributes:
        module: the layer.
        source: what it reads.
        result: what it computes.
        dim: the axis of `source` that it reads channels from.
        fold: constants of the inputs that its bias can take over exactly, NaN elsewhere.
        touches: whether an output has a weight for an input; bool `(outputs, inputs)`.
    """

    module: nn.Module
    source: Value
    result: Value
    dim: int
    fold: Tensor
    touches: Tensor

    @property
    def present(self) -> Tensor:
        """Which of its inputs the smaller network has."""
        if self.source.axis == self.dim:
            return self.source.space.present
        return torch.ones_like(self.fold, dtype=torch.bool)

    def reads(self) -> Tensor:
        """Which inputs matter to outputs that matter; bool `(inputs,)`."""
        return self.touches[self.result.space.need].any(0) & self.fold.isnan()

    def shift(self) -> Tensor:
        """What folded constants add to each output, shape `(outputs,)`, in double precision."""
        weight, known = _weight(self.module), self.fold.nan_to_num() != 0
        gain = weight[:, known].double().flatten(2).sum(-1) if weight.ndim > 2 else weight[:, known]
        return gain.double() @ self.fold[known].double()


class Channels:
    """The channels of every tensor in a network's forward pass.

    Args:
        graph: traced, in evaluation mode, changing nothing in place.
        inputs: an example of what it takes.

    Attributes:
        values: of the operations that return a tensor.
        layers: the layers that may lose channels.
        sliced: modules with numbers of their own for every channel, which go with it.
        flattened: operations that flatten all but the batch.
        sums: sums, differences and products of two tensors.
        kept: operations that need all channels because nothing is known of them, in words.
    """

    def __init__(self, graph: fx.GraphModule, inputs: tuple[Tensor, ...]) -> None:
        self.graph = graph
        self.values: dict[fx.Node, Value] = {}
        self.layers: dict[fx.Node, Layer] = {}
        self.sliced: dict[fx.Node, nn.Module] = {}
        self.flattened: list[fx.Node] = []
        self.sums: list[fx.Node] = []
        self.kept: list[str] = []
        self._samples = tensors_of(graph, inputs)
        for node in graph.graph.nodes:
            self._visit(node)
        self._solve()

    def _visit(self, node: fx.Node) -> None:
        sources = [self.values[other] for other in node.all_input_nodes if other in self.values]
        if node.op == "output":
            for source in sources:
                source.space.keep()
        elif node not in self._samples:
            if len(sources) != 1 or not asks_for_size_only(
                node, len(sources[0].shape), sources[0].axis
            ):
                self._keep(node, sources)
        elif node.op in ("placeholder", "get_attr"):
            self._new(node).space.keep()
        elif len(sources) < len(node.all_input_nodes) or not sources:
            if not self._flatten(node, sources):
                self._keep(node, sources)
        else:
            rules = (self._layer, self._channelwise, self._flatten, self._join)
            if not any(rule(node, sources) for rule in rules):
                self._keep(node, sources)

    def _new(
        self,
        node: fx.Node,
        axis: int | None = None,
        constant: Tensor | None = None,
        space: Space | None = None,
    ) -> Value:
        sample, shape = self._samples[node]
        if axis is None:
            axis = min(1, len(shape) - 1)
        size = shape[axis] if shape else 1
        if constant is None:
            dtype = sample.dtype if sample.is_floating_point() else torch.float32
            constant = torch.full((size,), torch.nan, dtype=dtype, device=sample.device)
        space = space or Space(size, sample.device)
        self.values[node] = Value(shape, axis, space, constant)
        return self.values[node]

    def _keep(self, node: fx.Node, sources: list[Value]) -> None:
        """Nothing is known: all that goes in is needed, all that comes out is there."""
        for source in sources:
            source.space.keep()
        if node in self._samples:
            self._new(node).space.keep()
        target = target_of(self.graph, node)
        if sources and target not in MIXING:
            name = target if isinstance(target, str) else target.__name__
            self.kept.append(f"{node.target} ({name})" if node.op == "call_module" else name)

    def _layer(self, node: fx.Node, sources: list[Value]) -> bool:
        module, source = own_module(self.graph, node), sources[0]
        if module is None or type(module) not in SUPPORTED or getattr(module, "groups", 1) != 1:
            return False
        weight = _weight(module)
        dim = len(source.shape) + 1 - weight.ndim
        if source.axis == dim:
            fold = source.constant.clone()
            if _pads_with_zeros(module):
                fold[fold != 0] = torch.nan
        else:
            source.space.keep()
            fold = weight.new_full(weight.shape[1:2], torch.nan)
        touches = (weight != 0).reshape(*weight.shape[:2], -1).any(-1)
        result = self._new(node, dim)
        layer = self.layers[node] = Layer(module, source, result, dim, fold, touches)
        value = layer.shift()
        if isinstance(module.bias, Tensor):
            value = value + module.bias
        fixed = ~touches[:, fold.isnan()].any(1)
        result.constant[fixed] = value[fixed].to(result.constant.dtype)
        return True

    def _channelwise(self, node: fx.Node, sources: list[Value]) -> bool:
        """Whatever leaves channels where they are, and lets none look at another."""
        axis, (_, shape) = sources[0].axis, self._samples[node]
        if not 0 <= axis < len(shape) or any(
            source.axis != axis or source.shape[axis] != shape[axis] for source in sources
        ):
            return False
        module = own_module(self.graph, node)
        if module is not None and axis == 1 and _one_number_each(module, shape):
            self.sliced[node] = module
        elif not _leaves_channels(node, target_of(self.graph, node), sources, shape):
            return False
        if len(sources) == 2:
            self.sums.append(node)
        self._new(node, axis, self._constants(node, axis), self._tie(sources))
        return True

    def _constants(self, node: fx.Node, axis: int) -> Tensor:
        """Run the operation on what is constant, and see what still is."""

        def filled(source: fx.Node) -> Tensor:
            value = self.values[source]
            shape = list(value.shape)
            if axis:
                shape[0] = 1
            view = [-1 if dim == axis else 1 for dim in range(len(shape))]
            return value.constant.nan_to_num().reshape(view).expand(shape).clone()

        result = run_alone(self.graph, node, filled).movedim(axis, 0).flatten(1)
        constant = result[:, 0].clone()
        varies = torch.stack([self.values[s].constant.isnan() for s in node.all_input_nodes]).any(0)
        if node in self.sliced:
            varies &= ~_blind(self.sliced[node])
        varies |= (result != result[:, :1]).any(1) | ~constant.isfinite()
        constant[varies] = torch.nan
        return constant

    def _tie(self, values: list[Value]) -> Space:
        """One space for all of these."""
        first = values[0].space
        for other in {value.space for value in values} - {first}:
            first.keep_parts()
            other.keep_parts()
            first.need |= other.need
            for value in self.values.values():
                if value.space is other:
                    value.space = first
        return first

    def _flatten(self, node: fx.Node, sources: list[Value]) -> bool:
        _, shape = self._samples[node]
        if target_of(self.graph, node) not in FLATTENING or len(sources) != 1:
            return False
        source = sources[0]
        axis, old = source.axis, source.shape
        if axis < 1 or len(shape) != 2 or shape[0] != old[0]:
            return False
        numbers = torch.arange(old[axis], device=source.constant.device)
        view = [-1 if dim == axis else 1 for dim in range(1, len(old))]
        channels = numbers.reshape(view).expand(old[1:]).reshape(-1)
        value = self._new(node, 1, source.constant[channels])
        value.space.parts = [(source, channels)]
        self.flattened.append(node)
        return True

    def _join(self, node: fx.Node, sources: list[Value]) -> bool:
        axis = sources[0].axis
        dim = node.args[1] if len(node.args) > 1 else node.kwargs.get("dim", 0)
        if target_of(self.graph, node) not in JOINING or not isinstance(dim, int):
            return False
        terms = node.args[0] if node.args else None
        if not isinstance(terms, list | tuple):
            return False
        parts = [self.values[term] for term in terms if isinstance(term, fx.Node)]
        if any(part.axis != axis or dim % len(part.shape) != axis for part in parts):
            return False
        value = self._new(node, axis, torch.cat([part.constant for part in parts]))
        for part in parts:
            every = torch.arange(len(part.constant), device=part.constant.device)
            value.space.parts.append((part, every))
        return True

    def _solve(self) -> None:
        """Spread the need until nothing changes; it only ever grows."""
        spaces = {value.space for value in self.values.values()}
        before = -1
        while (now := sum(int(space.need.sum()) for space in spaces)) != before:
            before = now
            for value in reversed(self.values.values()):
                value.space.ask_parts()
            for layer in reversed(self.layers.values()):
                if layer.source.axis == layer.dim:
                    layer.source.space.need |= layer.reads()


def _weight(module: nn.Module) -> Tensor:
    assert isinstance(module.weight, Tensor)
    return module.weight.detach()


def _pads_with_zeros(module: nn.Module) -> bool:
    if isinstance(module, nn.Linear) or getattr(module, "padding_mode", "zeros") != "zeros":
        return False
    padding = module.padding
    if isinstance(padding, str):
        return padding == "same"
    assert isinstance(padding, tuple)
    return any(width > 0 for width in padding)


def _one_number_each(module: nn.Module, shape: tuple[int, ...]) -> bool:
    """Whether a module with numbers of its own acts on the channels of axis 1 one by one."""
    channels = shape[1]
    if type(module) in SUPPORTED and not isinstance(module, nn.Linear):
        alike = {module.groups, module.in_channels, module.out_channels} == {channels}
        return alike and len(shape) == _weight(module).ndim
    if type(module) in BATCH_NORMS:
        return isinstance(module.running_mean, Tensor)
    return type(module) is nn.PReLU and module.num_parameters in (1, channels)


def _blind(module: nn.Module) -> Tensor:
    """Which channels a module answers with a constant, whatever it sees; bool `(channels,)`."""
    if isinstance(module.weight, Tensor) and not isinstance(module, nn.PReLU):
        return (module.weight == 0).reshape(len(module.weight), -1).all(1)
    return torch.zeros((), dtype=torch.bool)


def _leaves_channels(
    node: fx.Node, target: Any, sources: list[Value], shape: tuple[int, ...]
) -> bool:
    """Whether an operation without numbers of its own acts on channels one by one."""
    rank, axis = len(sources[0].shape), sources[0].axis
    if target in BINARY:
        return not node.kwargs and all(len(source.shape) == rank for source in sources)
    if target in WITHIN_CHANNELS:
        return axis == 1 and len(shape) == rank and acts_on_rank(target, rank)
    if target in MEANS:
        return axis == 1 and averages_positions(node, rank)
    if target in DROPOUT:
        return drops_nothing(node)
    return target in ELEMENTWISE
