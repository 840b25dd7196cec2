"""Converted layers: when they draw, when they evaluate, and the ordinary layers that they become.

A converted layer draws its weights in training mode, and in evaluation mode within `sampling`.
Otherwise it evaluates, with the point that a file holds if the posterior has one.
"""

from collections import OrderedDict
from collections.abc import Iterator
from contextlib import contextmanager
from copy import deepcopy
from functools import partial
from typing import Any

from torch import Tensor, nn

from laconic.errors import InputError
from laconic.weights.base import TRANSPOSED, Point, Storable, WeightMethod, WeightPosterior

Sizes = list[int] | None
"""Output sizes of a transposed convolution, where several are possible."""


class ProbabilisticLayer(nn.Module):
    """A layer whose weights are a distribution.

    Args:
        layer: the layer that is replaced; its numbers are not kept.
        posterior: the distribution that replaces them.

    Attributes:
        shell: the replaced layer without its numbers.
        posterior: the distribution.
        samplers: how many `sampling` blocks the layer is in.
        drawn: weight and bias that the layer computes with in place of its posterior, within
            `laconic.weights.prediction`; else None.
        method: that the network was converted with, if `convert` made this layer.
    """

    drawn: tuple[Tensor, Tensor | None] | None
    method: WeightMethod | None

    def __init__(self, layer: nn.Module, posterior: WeightPosterior) -> None:
        super().__init__()
        shell = deepcopy(layer)
        for name in list(shell._parameters):
            shell.register_parameter(name, None)
        self.shell, self.posterior, self.samplers = shell, posterior, 0
        self.drawn, self.method = None, None

    @property
    def draws(self) -> bool:
        """Whether the next forward pass draws the weights."""
        return self.training or self.samplers > 0

    def __getstate__(self) -> dict[str, Any]:
        """A copy that is made within `sampling` is not in that block."""
        return {**self.__dict__, "samplers": 0, "drawn": None}

    def __getattr__(self, name: str) -> Any:
        """Give modules that read the weight of a part, as encoders of transformers do, the point's.

        Raises:
            AttributeError: the layer draws, rounds its inputs or has no point.
        """
        if name in ("weight", "bias"):
            point = self._readable_point()
            if point is None:
                raise AttributeError(
                    f"a converted layer has no {name} while it draws, rounds its inputs or has no "
                    "point: call the layer, or leave it as it is with convert(..., skip=...). "
                    "Torch's encoders need torch.backends.mha.set_fastpath_enabled(False)"
                )
            return getattr(point, name)
        return super().__getattr__(name)

    def _readable_point(self) -> Point | None:
        if self.draws or not isinstance(self.posterior, Storable):
            return None
        try:
            point = self.posterior.point()
        except InputError:  # The inputs' range is not known yet.
            return None
        return None if point.rounding is not None else point

    def point(self) -> Point:
        """What a file holds of the layer.

        Raises:
            InputError: the posterior is not stored.
        """
        if not isinstance(self.posterior, Storable):
            raise InputError(
                f"a {type(self.posterior).__name__} predicts and is not stored: it has no point. "
                "Convert with a method that has one, such as 'sparse-vd'"
            )
        return self.posterior.point()

    def apply_layer(
        self, x: Tensor, weight: Tensor, bias: Tensor | None, output_size: Sizes = None
    ) -> Tensor:
        """Compute what the replaced layer computes, with other numbers.

        Args:
            x: input of the replaced layer.
            weight: shape of the replaced layer's weight.
            bias: shape `(outputs,)`, or None.
            output_size: of a transposed convolution, as torch's takes it.
        """
        shell = self.shell
        if isinstance(shell, nn.Linear):
            return nn.functional.linear(x, weight, bias)
        if isinstance(shell, nn.Embedding):
            return nn.functional.embedding(x, weight, shell.padding_idx)
        if isinstance(shell, TRANSPOSED):
            return _transposed(shell, x, weight, bias, output_size)
        # Torch's own method, which knows all padding modes.
        result: Tensor = shell._conv_forward(x, weight, bias)  # type: ignore[operator]
        return result

    def forward(self, x: Tensor, output_size: Sizes = None) -> Tensor:
        """The layer's output.

        Args:
            x: input of the replaced layer.
            output_size: of a transposed convolution, as torch's takes it.
        """
        if self.drawn is not None:
            return self.apply_layer(x, *self.drawn, output_size)
        run = self.posterior if self.draws else self.posterior.evaluate
        apply = partial(self.apply_layer, output_size=output_size) if output_size else None
        result: Tensor = run(x, apply or self.apply_layer)
        return result

    def plain(self) -> nn.Module:
        """The ordinary layer with the point's numbers, behind the rounding of its inputs if any.

        Raises:
            InputError: the posterior is not stored.
        """
        layer, point = deepcopy(self.shell), self.point()
        layer.register_parameter("weight", nn.Parameter(point.weight.detach().clone()))
        if point.bias is not None:
            layer.register_parameter("bias", nn.Parameter(point.bias.detach().clone()))
        return layer if point.rounding is None else behind(point.rounding, layer)


def behind(rounding: nn.Module, layer: nn.Module) -> nn.Module:
    """A layer with a rounding of its inputs before it, as modules "rounding" and "layer"."""
    return nn.Sequential(OrderedDict(rounding=rounding, layer=layer)).train(layer.training)


def _transposed(
    shell: nn.Module, x: Tensor, weight: Tensor, bias: Tensor | None, output_size: Sizes
) -> Tensor:
    assert isinstance(shell, nn.ConvTranspose1d | nn.ConvTranspose2d | nn.ConvTranspose3d)
    assert not isinstance(shell.padding, str)
    axes = weight.dim() - 2
    run = getattr(nn.functional, f"conv_transpose{axes}d")
    stride, padding, kernel, dilation = (
        list(one) for one in (shell.stride, shell.padding, shell.kernel_size, shell.dilation)
    )
    extra = shell._output_padding(x, output_size, stride, padding, kernel, axes, dilation)
    result: Tensor = run(
        x, weight, bias, shell.stride, shell.padding, extra, shell.groups, shell.dilation
    )
    return result


def replaced(layer: nn.Module) -> nn.Module:
    """The layer that a converted one replaces, without numbers; any other layer itself."""
    return layer.shell if isinstance(layer, ProbabilisticLayer) else layer


@contextmanager
def sampling(net: nn.Module) -> Iterator[None]:
    """Within this block, the converted layers of a network draw weights in evaluation mode, too.

    Modes stay: dropout and batch norm do what evaluation mode says. Blocks may be nested, of one
    network or of several that share layers. Layers in training mode draw anyway. A network without
    converted layers computes what it always does. Copies of the network made within the block are
    outside of it.

    Args:
        net: the network; one thread at a time.

    Example:
        `with sampling(net.eval()): draws = torch.stack([net(x) for _ in range(100)])`
    """
    layers = [module for module in net.modules() if isinstance(module, ProbabilisticLayer)]
    for layer in layers:
        layer.samplers += 1
    try:
        yield
    finally:
        for layer in layers:
            layer.samplers -= 1
