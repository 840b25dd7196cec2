"""A network without its pruned channels: dense, ordinary, with the same outputs.

Zero rows and columns are removed from a layer, with everything that depends on them: filters, the
linear inputs that they become when flattened, scales of batch norms, all terms of a residual sum,
pixels that no weight uses. The constant output of a removed unit, its bias, is added to the next
layer's bias.

Source: Louizos 6.4.2 and 7.5, Ullrich 3.4: tables of architectures such as 219-214-100.
"""

import warnings
from collections import OrderedDict
from copy import deepcopy
from itertools import groupby, pairwise

import torch
from torch import Tensor, fx, nn
from torch.nn.modules.conv import _ConvNd
from torch.utils import _pytree

from laconic.distributions.relaxed_grid import Rounding
from laconic.errors import InputError
from laconic.weights.base import FORWARD, TRANSPOSED
from laconic.weights.convert import plain
from laconic.weights.pruning.channels import Channels
from laconic.weights.pruning.partial_norm import PartialLayerNorm
from laconic.weights.pruning.pooling import SlicedMaxPool2d
from laconic.weights.pruning.spaces import Value
from laconic.weights.pruning.tracing import SUMS, traced

_SIZES = ("num_features", "num_parameters", "in_channels", "out_channels", "groups")
"""Attributes of modules that act on each channel alone with the number of channels."""


POOLS = (nn.MaxPool1d, nn.MaxPool2d, nn.MaxPool3d)


class KeptWhole(UserWarning):
    """Some operations of a network are unknown: all their channels are kept."""


class Select(nn.Module):
    """Selects some features.

    Args:
        index: indices of the features.
        dim: their axis.
    """

    def __init__(self, index: Tensor, dim: int) -> None:
        super().__init__()
        self.register_buffer("index", index)
        self.index: Tensor
        self.dim = dim

    def forward(self, x: Tensor) -> Tensor:
        """`x` with only those features."""
        return x.index_select(self.dim, self.index)

    def extra_repr(self) -> str:
        """Number of features, and their axis."""
        return f"{len(self.index)}, dim={self.dim}"


def smaller(net: nn.Module, example: Tensor | tuple[Tensor, ...]) -> nn.Module:
    """The pruned network: smaller layers, the same outputs, no masks.

    A layer gets a `Select` before it if it needs only some of the features of its input, and the
    others are pixels or needed elsewhere. Three changes make the network faster and keep its
    outputs: rectifiers are moved behind the maximum pooling that follows them, pooling stores no
    indices (`SlicedMaxPool2d`), and pictures are stored in channels_last order, which is faster for
    few channels. Layers that are used twice and unknown operations keep all channels. A sum that
    is rounded (`rq`) may be rounded the other way at a tie, since its terms are added in another
    order.

    Args:
        net: a converted network, or any network with exact zeros where it is pruned; it is not
            changed.
        example: a batch of its inputs, or several inputs. Inputs of the result may differ from it
            in the number of examples only.

    Returns:
        A new network in evaluation mode: `nn.Sequential`, nested or not, if it is a chain of
        modules, else torch's `GraphModule`, whose code can be read. It is for evaluation: dropout
        that the forward pass calls as a function stays off.

    Raises:
        InputError: the forward pass fails on the example, cannot be traced, or changes tensors in a
            way that tracing does not see; or a posterior has no point.

    Warns:
        KeptWhole: operations are unknown; the warning names them.

    Example:
        `small = smaller(net, x[:2])`
    """
    inputs = (example,) if isinstance(example, Tensor) else tuple(example)
    masked = plain(net).eval()
    dtype = _widen(masked)
    if dtype is not None:
        inputs = tuple(x.double() if x.is_floating_point() else x for x in inputs)
    with torch.no_grad():
        expected = _run(masked, inputs)
        graph = traced(masked)
        channels = Channels(graph, inputs)
        _replace_constants(graph, channels)
        _shrink(graph, channels)
        _pool_first(graph)
        _slice_pools(graph)
        _tidy(graph)
        _store_pixel_by_pixel(graph.eval())
        _compare(graph(*inputs), expected)
        if dtype is not None:
            graph.to(dtype)
    if channels.kept:
        warnings.warn(
            "these operations are unknown, so all channels of their inputs are kept: "
            f"{', '.join(sorted(channels.kept))}",
            KeptWhole,
            stacklevel=2,
        )
    return _as_sequence(graph)


def widths(net: nn.Module) -> dict[str, tuple[int, int]]:
    """Inputs and outputs of every linear and convolutional layer, in order of registration.

    Tables of the sources write "219-214-100" for the inputs of LeNet-300-100's three layers, and
    "8-13-88-13" for the outputs of LeNet-5's convolutions and the inputs of its linear layers.
    """
    found = {}
    for name, module in plain(net).named_modules():
        if isinstance(module, nn.Linear):
            found[name] = module.in_features, module.out_features
        elif isinstance(module, (*FORWARD, *TRANSPOSED)):
            assert isinstance(module, _ConvNd)
            found[name] = module.in_channels, module.out_channels
    return found


def _widen(net: nn.Module) -> torch.dtype | None:
    """Convert a network that rounds to float64, where errors of the last bit change few roundings.

    Returns:
        The type that its numbers had; None for a network that does not round, which is not changed.
    """
    if not any(isinstance(module, Rounding) for module in net.modules()):
        return None
    dtype = next(net.parameters()).dtype
    net.double()
    return dtype


def _run(net: nn.Module, inputs: tuple[Tensor, ...]) -> object:
    """The outputs; in-place operations of the network do not change the example."""
    try:
        return net(*(x.clone() for x in inputs))
    except (RuntimeError, TypeError, ValueError, IndexError) as error:
        raise InputError(f"the network fails on the example: {error}") from error


def _replace_constants(graph: fx.GraphModule, channels: Channels) -> None:
    """Replace a term of a sum that does not depend on the input by a constant."""
    for node in channels.sums:
        value = channels.values[node]
        present = value.space.present
        for position, other in ((0, 1), (1, 0)):
            term, rest = node.args[position], node.args[other]
            assert isinstance(term, fx.Node)
            assert isinstance(rest, fx.Node)
            constant = channels.values[term].constant[present]
            if bool(constant.isnan().any()) or channels.values[rest].shape != value.shape:
                continue
            if node.target in SUMS and bool((constant == 0).all()):
                node.replace_all_uses_with(rest)
                break
            name = f"constant_{node.name}"
            shape = [-1 if dim == value.axis else 1 for dim in range(len(value.shape))]
            graph.register_buffer(name, constant.reshape(shape))
            with graph.graph.inserting_before(node):
                node.update_arg(position, graph.graph.get_attr(name))
            break


def _shrink(graph: fx.GraphModule, channels: Channels) -> None:
    for node, layer in channels.layers.items():
        graph.set_submodule(str(node.target), layer.smaller())
        present = layer.present
        chosen = torch.where(present, present.cumsum(0) - 1, 0)[layer.columns()]
        if not torch.equal(chosen, torch.arange(int(present.sum()), device=chosen.device)):
            name = f"{node.target}_select"
            graph.add_submodule(name, Select(chosen, layer.dim))
            with graph.graph.inserting_before(node):
                node.update_arg(0, graph.graph.call_module(name, (node.args[0],)))
    for node, module in channels.sliced.items():
        graph.set_submodule(str(node.target), _small_module(module, channels.values[node]))
    for node, table in channels.tables.items():
        graph.set_submodule(str(node.target), _small_table(table, channels.values[node]))
    for node, (norm, source) in channels.norms.items():
        present = source.space.present
        if not bool(present.all()):
            partial = PartialLayerNorm(norm, present, source.constant)
            graph.set_submodule(str(node.target), partial)
    _rewrite_sizes(graph, channels)


def _rewrite_sizes(graph: fx.GraphModule, channels: Channels) -> None:
    """Replace constant sizes, as in view(-1, 400) or split(64), which fit the large network."""
    for node, (whole, cut) in channels.pieces.items():
        value = channels.values[whole]
        present = value.space.present
        start, length = int(present[: cut.start].sum()), int(present[cut].sum())
        with graph.graph.inserting_before(node):
            piece = graph.graph.call_function(torch.narrow, (whole, value.axis, start, length))
        node.replace_all_uses_with(piece)
    for node in channels.flattened:
        if node.op == "call_module":
            continue
        with graph.graph.inserting_before(node):
            flat = graph.graph.call_function(torch.flatten, (node.all_input_nodes[0], 1))
        node.replace_all_uses_with(flat)


def _small_module(module: nn.Module, value: Value) -> nn.Module:
    """A batch norm or a similar module with the numbers of the channels that are kept."""
    small, present = deepcopy(module), value.space.present
    for name, parameter in module.named_parameters():
        if parameter.shape[:1] == present.shape:
            kept = nn.Parameter(parameter[present], requires_grad=parameter.requires_grad)
            setattr(small, name, kept)
    for name, buffer in module.named_buffers():
        if buffer.shape[:1] == present.shape:
            setattr(small, name, buffer[present])
    for name in _SIZES:
        if getattr(small, name, None) == len(present):
            setattr(small, name, int(present.sum()))
    return small


def _small_table(table: nn.Embedding, value: Value) -> nn.Embedding:
    """An embedding with the features that are kept."""
    small, weight = deepcopy(table), table.weight
    kept = weight.detach()[:, value.space.present]
    small.weight = nn.Parameter(kept, requires_grad=weight.requires_grad)
    small.embedding_dim = kept.shape[1]
    return small


def _pool_first(graph: fx.GraphModule) -> None:
    """Move rectifiers behind pooling: fewer numbers, the same result."""
    for node in list(graph.graph.nodes):
        if node.op != "call_module" or not isinstance(graph.get_submodule(node.target), POOLS):
            continue
        before = node.args[0]
        if before.op != "call_module" or len(before.users) != 1 or len(before.args) != 1:
            continue
        if isinstance(graph.get_submodule(before.target), nn.ReLU):
            node.args = before.args
            node.replace_all_uses_with(before)
            before.args = (node,)
            node.append(before)


def _slice_pools(graph: fx.GraphModule) -> None:
    """Replace pooling by pooling without indices where possible."""
    for name, module in list(graph.named_modules()):
        if type(module) is nn.MaxPool2d and (quick := SlicedMaxPool2d.of(module)) is not None:
            graph.set_submodule(name, quick)


def _store_pixel_by_pixel(graph: fx.GraphModule) -> None:
    """Store weights of 2-D convolutions in channels_last order, faster for few channels."""
    for parameter in graph.parameters():
        if parameter.ndim == 4:
            parameter.data = parameter.data.to(memory_format=torch.channels_last)


def _tidy(graph: fx.GraphModule) -> None:
    graph.graph.eliminate_dead_code()
    graph.graph.lint()
    graph.recompile()
    graph.delete_all_unused_submodules()


def _as_sequence(graph: fx.GraphModule) -> nn.Module:
    """The same as `nn.Sequential`, nested like the names, if the graph is a chain of modules."""
    start, *steps, end = graph.graph.nodes
    chain = all(
        step.op == "call_module" and step.args == (before,) and not step.kwargs
        for before, step in pairwise([start, *steps])
    )
    names = [str(step.target) for step in steps]
    whole = end.args == ([start, *steps][-1],)
    if not chain or not whole:
        return graph
    return _nested({name: graph.get_submodule(name) for name in names}, names) or graph


def _nested(modules: dict[str, nn.Module], names: list[str]) -> nn.Sequential | None:
    """Nested sequences, so that tensors keep their names; None if a name comes again later."""
    rows = [(first, list(row)) for first, row in groupby(names, lambda name: name.split(".")[0])]
    if len({first for first, _ in rows}) < len(rows):
        return None
    found: dict[str, nn.Module] = {}
    for first, row in rows:
        inner = [name.partition(".")[2] for name in row]
        if inner == [""]:
            found[first] = modules[first]
            continue
        if "" in inner:
            return None
        part = _nested(dict(zip(inner, (modules[name] for name in row), strict=True)), inner)
        if part is None:
            return None
        found[first] = part
    return nn.Sequential(OrderedDict(found)).eval()


def _compare(found: object, expected: object) -> None:
    """Check that the smaller network computes the same: a graph may not show all that is done."""
    pairs = zip(_pytree.tree_leaves(found), _pytree.tree_leaves(expected), strict=True)
    for new, old in pairs:
        if not isinstance(old, Tensor) or not old.is_floating_point():
            continue
        tolerance = torch.finfo(old.dtype).eps ** 0.5
        bound = tolerance * float(old.abs().max().clamp(min=1)) if old.numel() else 0.0
        if not torch.allclose(new, old, rtol=tolerance, atol=bound, equal_nan=True):
            raise InputError(
                f"the smaller network would differ by up to {float((new - old).abs().max()):.3g}: "
                "the forward pass changes a tensor in place that is used elsewhere under another "
                "name, or has hooks. Write it without them"
            )
