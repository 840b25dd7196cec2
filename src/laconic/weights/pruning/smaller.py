"""A network without its pruned channels: dense, ordinary, and computing the same.

Zero rows and columns leave a layer, with all that they reach: filters, the linear inputs that they
turn into when flattened, scales of batch norms, all terms of a residual sum together, pixels that
no weight reads. What a removed unit still emitted, its bias, moves into the next layer's bias.

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
"""Where modules that act on channels one by one note how many there are."""


POOLS = (nn.MaxPool1d, nn.MaxPool2d, nn.MaxPool3d)


class KeptWhole(UserWarning):
    """Some operations of a network are unknown, so that all channels that they touch stay."""


class Select(nn.Module):
    """Lets some features through.

    Args:
        index: numbers of the features.
        dim: the axis that they stand on.
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
        """How many, and where."""
        return f"{len(self.index)}, dim={self.dim}"


def smaller(net: nn.Module, example: Tensor | tuple[Tensor, ...]) -> nn.Module:
    """The pruned network: smaller layers, the same outputs, no masks.

    A layer that needs only some of the features which are there, because others need the rest or
    because they are pixels, gets a `Select` before it. Rectifiers go behind the maximum pooling
    that follows them, pooling keeps no indices (`SlicedMaxPool2d`), and pictures lie in memory
    pixel by pixel, which suits few channels: all compute the same, faster. Convolutions in groups
    (other than one channel per group), layers that are used twice and operations that are unknown
    stay whole. Sums that are rounded (`rq`) and lie on a tie may fall to its other side, since
    they are added in another order.

    Args:
        net: a converted network, or any with exact zeros where it is pruned; left as it is.
        example: a batch of its inputs, or several inputs. Only the number of examples may differ
            when the result is used.

    Returns:
        A new network in evaluation mode: `nn.Sequential`, nested or not, where it is a chain of
        modules, else torch's `GraphModule`, whose code can be read. It is meant for evaluation:
        dropout that the forward pass calls as a function stays off.

    Raises:
        InputError: the forward pass fails on the example, cannot be traced, or changes tensors
            behind the back of the tracing.

    Warns:
        KeptWhole: operations are unknown; they are named.

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
            f"unknown, so kept whole with the channels around: {', '.join(sorted(channels.kept))}",
            KeptWhole,
            stacklevel=2,
        )
    return _as_sequence(graph)


def widths(net: nn.Module) -> dict[str, tuple[int, int]]:
    """Inputs and outputs of every linear and convolutional layer, in order of registration.

    LeNet-300-100 is "219-214-100" if the inputs of its three layers are so many; LeNet-5 is
    "8-13-88-13" by the outputs of its convolutions and the inputs of its linear layers.
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
    """Take a network that rounds to float64, where no last bit makes a whole step of a tie.

    Returns:
        The type of its numbers; None for a network that does not round, which is left as it is.
    """
    if not any(isinstance(module, Rounding) for module in net.modules()):
        return None
    dtype = next(net.parameters()).dtype
    net.double()
    return dtype


def _run(net: nn.Module, inputs: tuple[Tensor, ...]) -> object:
    """The outputs; the example stays as it is, whatever the network does in place."""
    try:
        return net(*(x.clone() for x in inputs))
    except (RuntimeError, TypeError, ValueError, IndexError) as error:
        raise InputError(f"the network fails on the example: {error}") from error


def _replace_constants(graph: fx.GraphModule, channels: Channels) -> None:
    """Where one term of a sum no longer depends on the input, keep the number, not the branch."""
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
    """Written-out sizes, as in view(-1, 400) or split(64), would be those of the large network."""
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
    """Batch norms and their like: the numbers of the channels that stay."""
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
    """An embedding with the features that stay."""
    small, weight = deepcopy(table), table.weight
    kept = weight.detach()[:, value.space.present]
    small.weight = nn.Parameter(kept, requires_grad=weight.requires_grad)
    small.embedding_dim = kept.shape[1]
    return small


def _pool_first(graph: fx.GraphModule) -> None:
    """Rectify after pooling, not before: the largest of fewer numbers, and the same ones."""
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
    """Pooling that keeps no indices, where there is one."""
    for name, module in list(graph.named_modules()):
        if type(module) is nn.MaxPool2d and (quick := SlicedMaxPool2d.of(module)) is not None:
            graph.set_submodule(name, quick)


def _store_pixel_by_pixel(graph: fx.GraphModule) -> None:
    """The order in memory of 2-D convolutions' weights that suits few channels."""
    for parameter in graph.parameters():
        if parameter.ndim == 4:
            parameter.data = parameter.data.to(memory_format=torch.channels_last)


def _tidy(graph: fx.GraphModule) -> None:
    graph.graph.eliminate_dead_code()
    graph.graph.lint()
    graph.recompile()
    graph.delete_all_unused_submodules()


def _as_sequence(graph: fx.GraphModule) -> nn.Module:
    """The same as `nn.Sequential`, nested as names are, where it is no more than a chain."""
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
    """A row of rows, so that tensors keep their names; None where names come again later."""
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
    """The last line of defence against networks that do what their graph does not show."""
    pairs = zip(_pytree.tree_leaves(found), _pytree.tree_leaves(expected), strict=True)
    for new, old in pairs:
        if not isinstance(old, Tensor) or not old.is_floating_point():
            continue
        tolerance = torch.finfo(old.dtype).eps ** 0.5
        bound = tolerance * float(old.abs().max().clamp(min=1)) if old.numel() else 0.0
        if not torch.allclose(new, old, rtol=tolerance, atol=bound, equal_nan=True):
            raise InputError(
                f"the smaller network would compute something else, by up to "
                f"{float((new - old).abs().max()):.3g}: the forward pass changes a tensor in place "
                "that is used elsewhere under another name, or has hooks of its own. Write it "
                "without them"
            )
