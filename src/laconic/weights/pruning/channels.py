"""Which channels of a network's tensors are constant, tied to each other, and needed.

Constants propagate forward: a row of zeros gives its bias for any input. Needs propagate backward:
a channel that is multiplied by columns of zeros only is not needed.
"""

import operator
from typing import Any

import torch
from torch import Tensor, fx, nn

from laconic.weights.base import FORWARD, TRANSPOSED
from laconic.weights.pruning.cut_layer import (
    Layer,
    groups_of,
    in_groups,
    pads_with_zeros,
    weight_of,
)
from laconic.weights.pruning.spaces import Space, Value, settle, tie
from laconic.weights.pruning.tracing import (
    BATCH_NORMS,
    BINARY,
    CUTTING,
    DROPOUT,
    ELEMENTWISE,
    FLATTENING,
    JOINING,
    MEANS,
    MIXING,
    WITHIN_CHANNELS,
    acts_on_rank,
    averaged_axes,
    cut_along,
    drops_nothing,
    own_module,
    piece_shapes,
    run_alone,
    target_of,
    tensors_of,
    uses_size_only,
)


class Channels:
    """The channels of every tensor in a network's forward pass.

    Args:
        graph: traced, in evaluation mode, without in-place changes.
        inputs: an example of its inputs.

    Attributes:
        values: results of the operations that return a tensor.
        layers: layers that may lose channels.
        sliced: modules with numbers for every channel, which are removed with it.
        tables: embeddings, whose features are channels.
        norms: layer normalisations over the channels, with their inputs.
        pieces: parts of tensors that are cut along their channels: the whole tensor, and which
            channels.
        flattened: operations that flatten all axes but the batch.
        sums: sums, differences and products of two tensors.
        kept: names of unknown operations, which need all channels.
    """

    def __init__(self, graph: fx.GraphModule, inputs: tuple[Tensor, ...]) -> None:
        self.graph = graph
        self.values: dict[fx.Node, Value] = {}
        self.layers: dict[fx.Node, Layer] = {}
        self.sliced: dict[fx.Node, nn.Module] = {}
        self.tables: dict[fx.Node, nn.Embedding] = {}
        self.norms: dict[fx.Node, tuple[nn.LayerNorm, Value]] = {}
        self.pieces: dict[fx.Node, tuple[fx.Node, slice]] = {}
        self.flattened: list[fx.Node] = []
        self.sums: list[fx.Node] = []
        self.kept: list[str] = []
        self._samples = tensors_of(graph, inputs)
        for node in graph.graph.nodes:
            self._visit(node)
        settle(self.values.values(), self._ask)

    def _visit(self, node: fx.Node) -> None:
        sources = [self.values[other] for other in node.all_input_nodes if other in self.values]
        if node.op == "output":
            for source in sources:
                source.space.keep()
        elif node not in self._samples:
            known = len(sources) == 1 and (
                uses_size_only(node, len(sources[0].shape), sources[0].axis)
                or self._cut(node, sources[0])
            )
            if not known:
                self._keep(node, sources)
        elif node in self.values:  # A piece.
            pass
        elif node.op in ("placeholder", "get_attr"):
            self._new(node).space.keep()
        elif len(sources) < len(node.all_input_nodes) or not sources:
            if not self._flatten(node, sources):
                self._keep(node, sources)
        else:
            rules = (
                self._layer,
                self._table,
                self._norm,
                self._mean,
                self._channelwise,
                self._flatten,
                self._join,
            )
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
        """An unknown operation: all channels of inputs and output are kept."""
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
        if module is None or type(module) not in (*FORWARD, *TRANSPOSED) or _one_each(module):
            return False
        weight = weight_of(module)
        dim = len(source.shape) + 1 - weight.ndim
        touches = (
            (in_groups(module, weight) != 0).flatten(3)
            if weight.ndim > 2
            else (in_groups(module, weight)[..., None] != 0)
        )
        touches = touches.any(3)
        if source.axis == dim:
            fold = source.constant.clone()
            if pads_with_zeros(module):
                fold[fold != 0] = torch.nan
        else:
            source.space.keep()
            fold = weight.new_full((touches.shape[0] * touches.shape[2],), torch.nan)
        result = self._new(node, dim)
        layer = self.layers[node] = Layer(module, source, result, dim, fold, touches)
        result.constant = layer.constants().to(result.constant.dtype)
        return True

    def _table(self, node: fx.Node, sources: list[Value]) -> bool:
        module = own_module(self.graph, node)
        if type(module) is not nn.Embedding:
            return False
        sources[0].space.keep()
        rows = weight_of(module)
        constant = rows[0].clone()
        constant[(rows != rows[0]).any(0)] = torch.nan
        self._new(node, len(self._samples[node][1]) - 1, constant)
        self.tables[node] = module
        return True

    def _norm(self, node: fx.Node, sources: list[Value]) -> bool:
        """All channels that vary are needed for mean and variance; constant ones can be removed."""
        module, source = own_module(self.graph, node), sources[0]
        if type(module) is not nn.LayerNorm or len(module.normalized_shape) != 1:
            return False
        if source.axis != len(source.shape) - 1:
            return False
        source.space.need |= source.constant.isnan()
        constant = torch.full_like(source.constant, torch.nan)
        if isinstance(module.weight, Tensor):
            blind = module.weight.detach() == 0
            constant[blind] = 0.0 if module.bias is None else module.bias.detach()[blind]
        self._new(node, source.axis, constant, source.space)
        self.norms[node] = module, source
        return True

    def _mean(self, node: fx.Node, sources: list[Value]) -> bool:
        """An average over positions: constants stay constant."""
        source = sources[0]
        rank, (_, shape) = len(source.shape), self._samples[node]
        dims = averaged_axes(node, rank)
        if target_of(self.graph, node) not in MEANS or not dims or {0, source.axis} & dims:
            return False
        gone = len([dim for dim in dims if dim < source.axis]) if len(shape) < rank else 0
        self._new(node, source.axis - gone, source.constant.clone(), source.space)
        return True

    def _cut(self, node: fx.Node, source: Value) -> bool:
        """An operation that cuts a tensor into pieces, along its channels or another axis."""
        if target_of(self.graph, node) not in CUTTING or any(
            user.target is not operator.getitem or user not in self._samples for user in node.users
        ):
            return False
        rank = len(source.shape)
        along = cut_along(node) % rank
        ends = [0]
        for shape in piece_shapes(self.graph, node, source.shape):
            ends.append(ends[-1] + shape[along])
        for user in node.users:
            if along != source.axis:
                self._new(user, source.axis, source.constant, source.space)
                continue
            index = user.args[1]
            assert isinstance(index, int)
            start, end = (ends[:-1][index], ends[1:][index])
            piece = self._new(user, source.axis, source.constant[start:end])
            numbers = torch.arange(start, end, device=source.constant.device)
            piece.space.views.append([(source, numbers)])
            piece.space.is_piece = True
            whole = node.all_input_nodes[0]
            self.pieces[user] = whole, slice(start, end)
        return True

    def _channelwise(self, node: fx.Node, sources: list[Value]) -> bool:
        """An operation that keeps the order of channels and never mixes them."""
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
        self._new(node, axis, self._constants(node, axis), tie(sources, self.values.values()))
        return True

    def _constants(self, node: fx.Node, axis: int) -> Tensor:
        """Run the operation on the constant channels, and find which results are constant."""

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
        value.space.views.append([(source, channels)])
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
        device = value.constant.device
        value.space.views.append(
            [(part, torch.arange(len(part.constant), device=device)) for part in parts]
        )
        return True

    def _ask(self) -> None:
        """Propagate needs from the outputs of layers to their inputs."""
        for layer in reversed(self.layers.values()):
            layer.balance()
            if layer.source.axis == layer.dim:
                layer.source.space.need |= layer.reads()


def _one_each(module: nn.Module) -> bool:
    """Whether a convolution has one group per channel, each with one output."""
    alike = {groups_of(module), weight_of(module).shape[0]} == {groups_of(module)}
    return alike and groups_of(module) > 1 and weight_of(module).shape[1] == 1


def _one_number_each(module: nn.Module, shape: tuple[int, ...]) -> bool:
    """Whether a module with parameters acts on each channel of axis 1 alone."""
    if type(module) in (*FORWARD, *TRANSPOSED):
        return _one_each(module) and len(shape) == weight_of(module).ndim
    if type(module) in BATCH_NORMS:
        return isinstance(module.running_mean, Tensor)
    return type(module) is nn.PReLU and module.num_parameters in (1, shape[1])


def _blind(module: nn.Module) -> Tensor:
    """Which channels of a module's output are constant for any input; bool `(channels,)`."""
    if isinstance(module.weight, Tensor) and not isinstance(module, nn.PReLU):
        return (module.weight == 0).reshape(len(module.weight), -1).all(1)
    return torch.zeros((), dtype=torch.bool)


def _leaves_channels(
    node: fx.Node, target: Any, sources: list[Value], shape: tuple[int, ...]
) -> bool:
    """Whether an operation without parameters acts on each channel alone."""
    rank, axis = len(sources[0].shape), sources[0].axis
    if target in BINARY:
        return not node.kwargs and all(len(source.shape) == rank for source in sources)
    if target in WITHIN_CHANNELS:
        return axis == 1 and len(shape) == rank and acts_on_rank(target, rank)
    if target in DROPOUT:
        return drops_nothing(node)
    return target in ELEMENTWISE and len(sources) == 1
