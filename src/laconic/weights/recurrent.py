"""Recurrent layers made of linear layers, which can be converted.

Torch computes a recurrent layer in one operation. Here every step is two linear layers, one on the
input and one on the hidden state, with the same result. It is slower: a Python loop runs over the
steps.

Source of the equations: the documentation of `torch.nn.LSTM`, `GRU` and `RNN`.
"""

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from laconic.errors import InputError
from laconic.weights.convert import replace_everywhere

State = Tensor | tuple[Tensor, Tensor]
"""The hidden state; for an LSTM a pair with the cell's state."""

KINDS: dict[type[nn.Module], str] = {
    nn.LSTMCell: "lstm", nn.GRUCell: "gru", nn.LSTM: "lstm", nn.GRU: "gru",
}  # fmt: skip


class LinearCell(nn.Module):
    """One step of a recurrent layer.

    Args:
        kind: "lstm", "gru", "tanh" or "relu".
        weights: on the input, `(gates x hidden, inputs)`, and on the state, `(gates x hidden,
            hidden)`; then the biases of both, if the layer has biases.

    Attributes:
        input: the linear layer on the input.
        hidden: the linear layer on the hidden state.
    """

    def __init__(self, kind: str, weights: Sequence[Tensor]) -> None:
        super().__init__()
        self.kind, self.size = kind, weights[1].shape[1]
        biases = [*weights[2:], None, None]
        self.input, self.hidden = (
            _linear(weight, bias) for weight, bias in zip(weights[:2], biases, strict=False)
        )

    def forward(self, x: Tensor, state: State | None = None) -> State:
        """Like torch's cells: `(batch, inputs)` or `(inputs,)`; the state is zeros if None."""
        if state is None:
            zeros = x.new_zeros(*x.shape[:-1], self.size)
            state = (zeros, zeros) if self.kind == "lstm" else zeros
        if isinstance(state, tuple):
            return self._lstm(x, *state)
        if self.kind == "gru":
            return self._gru(x, state)
        total = self.input(x) + self.hidden(state)
        return torch.tanh(total) if self.kind == "tanh" else torch.relu(total)

    def _lstm(self, x: Tensor, hidden: Tensor, cell: Tensor) -> tuple[Tensor, Tensor]:
        enter, forget, new, leave = (self.input(x) + self.hidden(hidden)).chunk(4, -1)
        cell = torch.sigmoid(forget) * cell + torch.sigmoid(enter) * torch.tanh(new)
        return torch.sigmoid(leave) * torch.tanh(cell), cell

    def _gru(self, x: Tensor, hidden: Tensor) -> Tensor:
        given = self.input(x).chunk(3, -1)
        known = self.hidden(hidden).chunk(3, -1)
        reset, update = (torch.sigmoid(given[i] + known[i]) for i in (0, 1))
        new = torch.tanh(given[2] + reset * known[2])
        return (1 - update) * new + update * hidden


class LinearRecurrence(nn.Module):
    """Stacked recurrent layers, in one direction or both.

    Args:
        layers: torch's.

    Attributes:
        cells: first layer forwards, first layer backwards if there is one, second layer, and so on.
    """

    def __init__(self, layers: nn.RNNBase) -> None:
        super().__init__()
        self.batch_first, self.dropout = layers.batch_first, float(layers.dropout)
        self.directions = 2 if layers.bidirectional else 1
        kind = KINDS.get(type(layers)) or str(layers.nonlinearity)
        self.cells = nn.ModuleList(LinearCell(kind, weights) for weights in layers.all_weights)

    def forward(self, x: Tensor, state: State | None = None) -> tuple[Tensor, State]:
        """Like torch's layers: outputs of the last layer at every step, and the final states.

        Raises:
            InputError: the input is packed.
        """
        if not isinstance(x, Tensor):
            raise InputError(
                "a recurrent layer made by linear_cells takes no packed sequence: give it a padded "
                "tensor"
            )
        steps = 1 if self.batch_first and x.dim() == 3 else 0
        x = x.movedim(steps, 0)
        ends: list[State] = []
        for first in range(0, len(self.cells), self.directions):
            if first and self.dropout:
                x = nn.functional.dropout(x, self.dropout, self.training)
            outputs = []
            for number in range(first, first + self.directions):
                backwards = number > first
                output, end = self._run(x.flip(0) if backwards else x, number, state)
                outputs.append(output.flip(0) if backwards else output)
                ends.append(end)
            x = torch.cat(outputs, -1)
        return x.movedim(0, steps), _stacked(ends)

    def _run(self, x: Tensor, number: int, state: State | None) -> tuple[Tensor, State]:
        now: State | None = None
        if state is not None:
            now = (
                (state[0][number], state[1][number]) if isinstance(state, tuple) else state[number]
            )
        outputs = []
        for step in x:
            now = self.cells[number](step, now)
            assert now is not None
            outputs.append(now[0] if isinstance(now, tuple) else now)
        assert now is not None
        return torch.stack(outputs), now


def linear_cells(net: nn.Module) -> int:
    """Replace the LSTM, GRU and RNN layers and cells of a network by linear layers, in place.

    The network computes the same as before. Its tensors have other names:
    `lstm.cells.0.input.weight` for `lstm.weight_ih_l0`. Expand a file of such a network into a
    network that `linear_cells` was called on, too.

    Args:
        net: the network; call `convert` afterwards.

    Returns:
        Number of replaced modules.

    Raises:
        InputError: a layer projects its states (`proj_size`), or is the network itself. Then
            nothing is replaced.

    Example:
        `linear_cells(net); penalty = convert(net, "sparse-vd")`
    """
    found = {
        module: name
        for name, module in net.named_modules()
        if isinstance(module, nn.RNNBase | nn.RNNCellBase)
    }
    if net in found:
        raise InputError("give a network, not a single layer: put it into nn.Sequential")
    new = {module: _written(name, module) for module, name in found.items()}
    for module, linear in new.items():
        replace_everywhere(net, module, linear.train(module.training))
    return len(new)


def _written(name: str, module: nn.RNNBase | nn.RNNCellBase) -> nn.Module:
    if isinstance(module, nn.RNNBase):
        if module.proj_size:
            raise InputError(
                f"{name!r} projects its states (proj_size), which linear_cells does not support"
            )
        return LinearRecurrence(module)
    kind = KINDS.get(type(module)) or str(module.nonlinearity)
    names = ("weight_ih", "weight_hh", "bias_ih", "bias_hh")
    weights = [value for key in names if isinstance(value := getattr(module, key, None), Tensor)]
    return LinearCell(kind, weights)


def _linear(weight: Tensor, bias: Tensor | None) -> nn.Linear:
    """A linear layer with copies of these tensors, frozen if they are."""
    layer = nn.Linear(weight.shape[1], weight.shape[0], bias is not None, "meta")
    for name, value in (("weight", weight), ("bias", bias)):
        if value is not None:
            setattr(layer, name, nn.Parameter(value.detach().clone(), value.requires_grad))
    return layer


def _stacked(ends: list[State]) -> State:
    pairs = [end for end in ends if isinstance(end, tuple)]
    if pairs:
        hidden, cell = zip(*pairs, strict=True)
        return torch.stack(hidden), torch.stack(cell)
    return torch.stack([end for end in ends if isinstance(end, Tensor)])
