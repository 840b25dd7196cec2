"""A network's forward pass as a graph, and what its operations do with channels.

Three kinds of operations are known besides layers: elementwise ones, those that move numbers within
a channel, and those that flatten, join or cut. All others are unknown and need all channels.
"""

import operator
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, fx, nn
from torch.nn import functional

from laconic.distributions.relaxed_grid import Rounding
from laconic.errors import InputError

ELEMENTWISE: frozenset[Any] = frozenset({
    nn.ReLU, nn.ReLU6, nn.LeakyReLU, nn.ELU, nn.SELU, nn.CELU, nn.GELU, nn.SiLU, nn.Mish,
    nn.Sigmoid, nn.LogSigmoid, nn.Tanh, nn.Softplus, nn.Softsign, nn.Hardtanh, nn.Hardswish,
    nn.Hardsigmoid, nn.Identity, nn.Dropout, nn.Dropout1d, nn.Dropout2d, nn.Dropout3d,
    nn.AlphaDropout, torch.relu, torch.sigmoid, torch.tanh, functional.relu, functional.relu6,
    functional.leaky_relu, functional.elu, functional.selu, functional.celu, functional.gelu,
    functional.silu, functional.mish, functional.sigmoid, functional.logsigmoid, functional.tanh,
    functional.softplus, functional.softsign, functional.hardtanh, functional.hardswish,
    functional.hardsigmoid, torch.clamp, torch.clip, torch.neg, torch.abs, torch.square,
    operator.neg, operator.abs, "relu", "sigmoid", "tanh", "clamp", "clip", "neg", "abs", "square",
    "contiguous", "clone", Rounding,
})  # fmt: skip
"""Functions of single numbers: types of modules, functions, names of methods."""

SUMS: frozenset[Any] = frozenset({operator.add, torch.add, "add"})
"""Adding zero changes nothing."""

BINARY: frozenset[Any] = SUMS | {
    operator.sub, operator.mul, operator.truediv, torch.sub, torch.mul, torch.div,
    torch.maximum, torch.minimum, "sub", "mul", "div", "maximum", "minimum",
}  # fmt: skip
"""Elementwise operations on two tensors, or on a tensor and a number."""

DROPOUT: frozenset[Any] = frozenset({
    functional.dropout, functional.dropout1d, functional.dropout2d, functional.dropout3d,
})  # fmt: skip
"""Functions that do nothing where `training` is False."""

WITHIN_CHANNELS: frozenset[Any] = frozenset({
    nn.MaxPool1d, nn.MaxPool2d, nn.MaxPool3d, nn.AvgPool1d, nn.AvgPool2d, nn.AvgPool3d,
    nn.AdaptiveAvgPool1d, nn.AdaptiveAvgPool2d, nn.AdaptiveAvgPool3d, nn.AdaptiveMaxPool1d,
    nn.AdaptiveMaxPool2d, nn.AdaptiveMaxPool3d, nn.Upsample, nn.ZeroPad2d, nn.ReflectionPad2d,
    nn.ReplicationPad2d, torch.max_pool1d, torch.max_pool2d, torch.max_pool3d,
    functional.max_pool1d, functional.max_pool2d, functional.max_pool3d, functional.avg_pool1d,
    functional.avg_pool2d, functional.avg_pool3d, functional.adaptive_avg_pool1d,
    functional.adaptive_avg_pool2d, functional.adaptive_avg_pool3d, functional.interpolate,
})  # fmt: skip
"""Channels are on axis 1 before and after, and do not mix."""

MEANS: frozenset[Any] = frozenset({torch.mean, "mean"})
"""Averages; known if they are over the positions of a channel only."""

FLATTENING: frozenset[Any] = frozenset({
    nn.Flatten, torch.flatten, torch.reshape, torch.squeeze, "flatten", "reshape", "view",
    "squeeze",
})  # fmt: skip
"""Operations that may turn `(batch, ...)` into `(batch, features)`; shapes decide."""

JOINING: frozenset[Any] = frozenset({torch.cat, torch.concat, torch.concatenate})
"""Concatenations."""

CUTTING: frozenset[Any] = frozenset({torch.chunk, torch.split, "chunk", "split"})
"""Operations that cut a tensor into several along one axis."""

BATCH_NORMS: frozenset[Any] = frozenset({nn.BatchNorm1d, nn.BatchNorm2d, nn.BatchNorm3d})
"""One scale and shift per channel in evaluation."""

MIXING: frozenset[Any] = frozenset({
    nn.Softmax, nn.LogSoftmax, torch.softmax, torch.log_softmax, functional.softmax,
    functional.log_softmax, "softmax", "log_softmax",
})  # fmt: skip
"""Operations that always mix channels, so that no warning is needed."""

_OUT_OF_PLACE: dict[Any, Any] = {
    operator.iadd: operator.add, operator.isub: operator.sub, operator.imul: operator.mul,
    operator.itruediv: operator.truediv,
}  # fmt: skip


def traced(net: nn.Module) -> fx.GraphModule:
    """The network as a graph of operations that change nothing in place.

    Args:
        net: in evaluation mode; its modules become the graph's own.

    Raises:
        InputError: the forward pass cannot be written as one graph.
    """
    try:
        graph = fx.GraphModule(net, _Tracer().trace(net))
    except Exception as error:  # The network's own code may raise anything.
        raise InputError(
            f"the network cannot be traced ({type(error).__name__}: {error}): its forward pass "
            "depends on the values of its input. Remove such branches and loops from forward, or "
            "make only the part without them smaller"
        ) from error
    _change_nothing_in_place(graph)
    return graph


def tensors_of(
    graph: fx.GraphModule, inputs: tuple[Tensor, ...]
) -> dict[fx.Node, tuple[Tensor, tuple[int, ...]]]:
    """For each operation that returns a tensor: an empty tensor of its type, and its shape."""
    recorder = _Recorder(graph)
    recorder.run(*inputs)
    return recorder.samples


def target_of(graph: fx.GraphModule, node: fx.Node) -> Any:
    """An operation's entry in the tables above: a module's type, a function, a method's name."""
    return type(graph.get_submodule(str(node.target))) if node.op == "call_module" else node.target


def own_module(graph: fx.GraphModule, node: fx.Node) -> nn.Module | None:
    """The module of an operation if it is used only here, so that it may be changed, else None."""
    if node.op != "call_module" or len(node.args) != 1 or node.kwargs:
        return None
    for other in graph.graph.nodes:
        if other.op == "call_module" and other is not node and other.target == node.target:
            return None
        if other.op == "get_attr" and str(other.target).rpartition(".")[0] == node.target:
            return None
    module = graph.get_submodule(str(node.target))
    return None if module._forward_hooks or module._forward_pre_hooks else module


def run_alone(
    graph: fx.GraphModule, node: fx.Node, value_of: Callable[[fx.Node], Tensor]
) -> Tensor:
    """One operation by itself, on given tensors."""
    args = fx.node.map_arg(node.args, value_of)
    kwargs = fx.node.map_arg(node.kwargs, value_of)
    result = getattr(fx.Interpreter(graph), node.op)(node.target, args, kwargs)
    assert isinstance(result, Tensor)
    return result


def cut_along(node: fx.Node) -> int:
    """The axis that a cutting operation names."""
    dim = node.args[2] if len(node.args) > 2 else node.kwargs.get("dim", 0)
    assert isinstance(dim, int)
    return dim


def piece_shapes(
    graph: fx.GraphModule, node: fx.Node, shape: tuple[int, ...]
) -> list[tuple[int, ...]]:
    """The shapes of all pieces that a cutting operation makes of a tensor of this shape."""
    whole = torch.empty(shape, device="meta")
    args, kwargs = (fx.node.map_arg(given, lambda _: whole) for given in (node.args, node.kwargs))
    pieces = getattr(fx.Interpreter(graph), node.op)(node.target, args, kwargs)
    return [tuple(piece.shape) for piece in pieces]


def drops_nothing(node: fx.Node) -> bool:
    """Whether a dropout function is called with `training=False`."""
    training = node.args[2] if len(node.args) > 2 else node.kwargs.get("training", True)
    return training is False


def averaged_axes(node: fx.Node, rank: int) -> set[int]:
    """The axes that a mean is taken over, counted from 0; empty if they are not constants."""
    dims = node.args[1] if len(node.args) > 1 else node.kwargs.get("dim")
    listed = dims if isinstance(dims, list | tuple) else (dims,)
    found = {dim % rank for dim in listed if isinstance(dim, int)}
    return found if len(found) == len(listed) else set()


def acts_on_rank(target: Any, rank: int) -> bool:
    """Whether an operation within channels takes a tensor of so many axes as a batch."""
    name: str = target.__name__
    return name.endswith(f"{rank - 2}d") or target in (nn.Upsample, functional.interpolate)


def uses_size_only(node: fx.Node, rank: int, axis: int) -> bool:
    """Whether an operation reads a tensor's shape, but not along `axis`."""
    whole = (node.target is getattr and node.args[1] == "shape") or (
        node.target == "size" and len(node.args) == 1 and not node.kwargs
    )
    if whole:
        asked = [user.args[1] for user in node.users if user.target is operator.getitem]
        if len(asked) < len(node.users):
            return False
    elif node.target == "size" and len(node.args) == 2:
        asked = [node.args[1]]
    else:
        return False
    return all(isinstance(dim, int) and dim % rank != axis for dim in asked)


class _Tracer(fx.Tracer):
    """Traces a rounding as one operation, like torch's modules."""

    def is_leaf_module(self, m: nn.Module, module_qualified_name: str) -> bool:
        return isinstance(m, Rounding) or super().is_leaf_module(m, module_qualified_name)


class _Recorder(fx.Interpreter):
    """Runs a graph and records the shapes of its tensors."""

    def __init__(self, graph: fx.GraphModule) -> None:
        super().__init__(graph)
        self.samples: dict[fx.Node, tuple[Tensor, tuple[int, ...]]] = {}

    def run_node(self, n: fx.Node) -> object:
        result = super().run_node(n)
        if isinstance(result, Tensor) and n.op != "output":
            self.samples[n] = result.new_empty(0), tuple(result.shape)
        return result


def _change_nothing_in_place(graph: fx.GraphModule) -> None:
    """Replace in-place operations by ones that return their result.

    Later users of the changed argument use the result, as before. Otherwise, where an addition is
    removed, a rectifier could overwrite a tensor that is used elsewhere.
    """
    order = {node: index for index, node in enumerate(graph.graph.nodes)}
    for node in [node for node in graph.graph.nodes if _works_in_place(graph, node)]:
        source = node.all_input_nodes[0]
        for user in [user for user in source.users if order[user] > order[node]]:
            user.replace_input_with(source, node)
        if "inplace" in node.kwargs:
            node.kwargs = {**node.kwargs, "inplace": False}
        elif node.op == "call_method":
            node.target = str(node.target).removesuffix("_")
        else:
            node.target = _OUT_OF_PLACE.get(node.target, node.target)
    for module in graph.modules():
        if getattr(module, "inplace", False) is True:
            module.inplace = False  # type: ignore[assignment]
    graph.recompile()


def _works_in_place(graph: fx.GraphModule, node: fx.Node) -> bool:
    if not node.all_input_nodes:
        return False
    if node.op == "call_module":
        return getattr(graph.get_submodule(str(node.target)), "inplace", False) is True
    if node.op == "call_method":
        name = str(node.target)
        return name.endswith("_") and not name.endswith("__") and hasattr(Tensor, name[:-1])
    return node.target in _OUT_OF_PLACE or node.kwargs.get("inplace") is True
