"""Predictions of any network: many draws of the weights, all examples, no gradients.

Weights are drawn first and then serve for all batches, so that one draw is one function. Networks
of linear layers compute many draws at once. Networks with convolutions compute one draw after the
other, on batches that fit the cache, in torch's `channels_last` order: on a CPU this is three times
as fast as drawing the weights again for every batch.
"""

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, nullcontext

import torch
from torch import Tensor, nn
from torch.func import vmap
from torch.nn.modules.dropout import _DropoutNd

from laconic.distributions.prediction import (
    AnyPrediction,
    Prediction,
    Predictor,
    RegressionPrediction,
)
from laconic.errors import InputError
from laconic.progress import Progress, silent
from laconic.training.classification import pixel_by_pixel
from laconic.training.modes import evaluation
from laconic.weights.base import Drawable, Draws
from laconic.weights.layers import ProbabilisticLayer, sampling

Noise = float | Tensor | str | None
"""Of `predict`: None for a classifier; otherwise the noise of the values of a regression."""

DRAWN_NUMBERS = 1 << 26
"""Most numbers of drawn weights in memory at once: a quarter of a gigabyte."""

AT_ONCE = 1 << 24
"""Most numbers in the outputs of a linear layer for all draws that are computed at once."""

ELEMENTWISE = (
    nn.Sequential, nn.Flatten, nn.Identity, nn.ReLU, nn.LeakyReLU, nn.ELU, nn.GELU, nn.SiLU,
    nn.Softplus, nn.Sigmoid, nn.Tanh, nn.Linear,
)  # fmt: skip
"""Modules around linear layers that compute for all draws at once what they do for each."""


def predict(
    net: nn.Module,
    x: Tensor,
    samples: int = 100,
    *,
    noise: Noise = None,
    dropout: bool = False,
    batch: int = 100,
    seed: int | None = None,
    progress: Progress = silent,
) -> AnyPrediction:
    """Predict with draws from the posterior of a network's weights.

    Args:
        net: a network that `laconic.weights.convert` converted, or any other: that is a posterior
            of one draw. A module with a method `predict` (`Predictor`) is called batch by batch.
        x: inputs, `(count, ...)`, on the network's device.
        samples: number of draws.
        noise: None for a classifier, whose outputs are logits. For a regression the standard
            deviation of the values: a number, a tensor `(outputs,)`, or "outputs" if the network's
            outputs are the means and, in their second half, the logarithms of the variances.
        dropout: whether the network's own dropout modules draw, too (MC-dropout).
        batch: examples at a time.
        seed: of the draws; None: torch's own generator continues.
        progress: called with batches done and batches in all.

    Returns:
        A `Prediction` for a classifier, else a `RegressionPrediction`; on the device of `x`.

    Raises:
        InputError: `samples` or `batch` is below 1; `x` is no tensor, empty, or has NaN or infinite
            values; the outputs have other shapes than `(count, outputs)`, or are not finite.

    Example:
        `laconic.predict(net, x, samples=100).entropy`
    """
    _check(net, x, samples, batch)
    devices = [x.device] if x.is_cuda else []
    forked = nullcontext() if seed is None else torch.random.fork_rng(devices)
    with forked, torch.no_grad(), evaluation(net):
        if seed is not None:
            torch.manual_seed(seed)
        if isinstance(net, Predictor):
            return _joined([net.predict(part, samples) for part in torch.split(x, batch)])
        outputs = _draw_outputs(net, x, samples, dropout, batch, progress)
    return to_prediction(outputs, noise)


def to_prediction(outputs: Tensor, noise: Noise) -> AnyPrediction:
    """What outputs of a network under several draws predict.

    Args:
        outputs: `(samples, count, outputs)`.
        noise: as `predict` takes it.

    Raises:
        InputError: the outputs do not fit, or are not finite.
    """
    if outputs.dim() != 3:
        raise InputError(
            f"the network's outputs have shape {tuple(outputs.shape[1:])}: predict needs "
            "(count, outputs)"
        )
    if not bool(outputs.isfinite().all()):
        raise InputError("the network's outputs are NaN or infinite: its weights are not usable")
    if noise is None:
        if outputs.shape[-1] < 2:
            raise InputError(
                "the network has one output, so it is no classifier: for a regression give the "
                "standard deviation of the values as noise"
            )
        return Prediction.from_logits(outputs)
    if isinstance(noise, str):
        if noise != "outputs" or outputs.shape[-1] % 2:
            raise InputError(
                f"noise is {noise!r} and the network has {outputs.shape[-1]} outputs: give a "
                "number, a tensor, or 'outputs' for means and log variances"
            )
        means, log_variances = outputs.chunk(2, -1)
        return RegressionPrediction(means, log_variances.exp())
    scale = torch.as_tensor(noise, dtype=outputs.dtype, device=outputs.device)
    if not bool((scale > 0).all()) or scale.dim() > 1:
        raise InputError("noise is the standard deviation of the values: give numbers above 0")
    return RegressionPrediction(outputs, scale.square().view(1, 1, -1))


def _check(net: nn.Module, x: Tensor, samples: int, batch: int) -> None:
    if not isinstance(net, nn.Module):
        raise InputError(f"net is of type {type(net).__name__}: give a torch module")
    if not isinstance(x, Tensor):
        raise InputError(f"x is of type {type(x).__name__}: give a tensor of inputs")
    if not x.dim() or not len(x):
        raise InputError(f"x has shape {tuple(x.shape)}: give one input or more")
    if not bool(x.isfinite().all()):
        raise InputError("x has NaN or infinite values")
    for name, number in (("samples", samples), ("batch", batch)):
        if isinstance(number, bool) or not isinstance(number, int) or number < 1:
            raise InputError(f"{name} is {number!r}: give a whole number above 0")


def _joined(parts: list[AnyPrediction]) -> AnyPrediction:
    """Predictions of successive batches as one."""
    first = parts[0]
    if isinstance(first, Prediction):
        logs = [part.log_probs for part in parts if isinstance(part, Prediction)]
        return Prediction(torch.cat(logs, 1))
    values = [part for part in parts if isinstance(part, RegressionPrediction)]
    spread = [part.variances.expand_as(part.means) for part in values]
    return RegressionPrediction(torch.cat([part.means for part in values], 1), torch.cat(spread, 1))


def _draw_outputs(
    net: nn.Module, x: Tensor, samples: int, dropout: bool, batch: int, progress: Progress
) -> Tensor:
    """Outputs under all draws, `(samples, count, ...)`."""
    layers = {m: m.posterior for m in net.modules() if isinstance(m, ProbabilisticLayer)}
    noisy = [m for m in net.modules() if isinstance(m, _DropoutNd) and dropout]
    if not layers and not noisy:
        samples = 1
    channels_last = _reads_channels_last(net, x)
    parts = [pixel_by_pixel(part) if channels_last else part for part in torch.split(x, batch)]
    drawable = {m: one for m, one in layers.items() if isinstance(one, Drawable)}
    with _drawing(noisy):
        if len(drawable) < len(layers) or not layers:
            with sampling(net):
                return _each(net, parts, samples, progress)
        weights = sum(one.draw_weights(1)[0].numel() for one in drawable.values())
        step = max(1, DRAWN_NUMBERS // max(weights, 1))
        found = []
        for start in range(0, samples, step):
            count = min(step, samples - start)
            drawn = {m: _draw(one, count, channels_last) for m, one in drawable.items()}
            run = _together if _can_compute_together(net) and not noisy else _one_by_one
            found.append(run(net, drawn, parts, count, progress))
    return torch.cat(found)


def _draw(posterior: Drawable, count: int, channels_last: bool) -> Draws:
    """Draws of one layer; kernels in the order of memory that the pictures have."""
    weight, bias = posterior.draw_weights(count)
    if weight.dim() == 5 and channels_last:
        flat = weight.flatten(0, 1).contiguous(memory_format=torch.channels_last)
        weight = flat.view(weight.shape)
    return weight, bias


def _reads_channels_last(net: nn.Module, x: Tensor) -> bool:
    """Whether pictures may come in `channels_last` order, which is faster on a CPU."""
    if x.dim() != 4 or x.is_cuda:
        return False
    try:
        net(pixel_by_pixel(x[:2]))
    except RuntimeError:  # `view` refuses this order; for any other fault the caller's pass fails.
        return False
    return True


def _can_compute_together(net: nn.Module) -> bool:
    """Whether all modules are linear layers and functions of single numbers."""
    return all(
        isinstance(module.shell, nn.Linear)
        if isinstance(module, ProbabilisticLayer)
        else type(module) in ELEMENTWISE or isinstance(module, _DropoutNd)
        for module in _outer(net)
    )


def _outer(net: nn.Module) -> Iterator[nn.Module]:
    """All modules but those within converted layers."""
    yield net
    if not isinstance(net, ProbabilisticLayer):
        for child in net.children():
            yield from _outer(child)


@contextmanager
def _drawing(modules: Sequence[nn.Module]) -> Iterator[None]:
    """Within this block these modules draw; `evaluation` puts their modes back."""
    for module in modules:
        module.train()
    yield


@contextmanager
def _set(layers: Mapping[ProbabilisticLayer, Draws]) -> Iterator[None]:
    """Within this block these layers compute with these weights."""
    for layer, (weight, bias) in layers.items():
        layer.drawn = (weight, bias)
    try:
        yield
    finally:
        for layer in layers:
            layer.drawn = None


def _each(net: nn.Module, parts: list[Tensor], samples: int, progress: Progress) -> Tensor:
    """Every pass draws by itself: for posteriors whose weights cannot be drawn."""
    found = []
    for done, part in enumerate(parts, 1):
        found.append(torch.stack([net(part) for _ in range(samples)]))
        progress(done, len(parts))
    return torch.cat(found, 1)


def _one_by_one(
    net: nn.Module,
    drawn: Mapping[ProbabilisticLayer, Draws],
    parts: list[Tensor],
    count: int,
    progress: Progress,
) -> Tensor:
    """One draw after the other on each batch."""
    found = []
    for index in range(count):
        chosen = {m: (w[index], None if b is None else b[index]) for m, (w, b) in drawn.items()}
        with _set(chosen):
            found.append(torch.cat([net(part) for part in parts]))
        progress(index + 1, count)
    return torch.stack(found)


def _together(
    net: nn.Module,
    drawn: Mapping[ProbabilisticLayer, Draws],
    parts: list[Tensor],
    count: int,
    progress: Progress,
) -> Tensor:
    """All draws of a network of linear layers at once, as products of stacks of matrices."""
    layers = list(drawn)
    weights = [weight for weight, _ in drawn.values()]
    biases = {m: bias for m, (_, bias) in drawn.items() if bias is not None}

    def run(weights: list[Tensor], biases: dict[ProbabilisticLayer, Tensor], x: Tensor) -> Tensor:
        pairs = zip(layers, weights, strict=True)
        with _set({layer: (weight, biases.get(layer)) for layer, weight in pairs}):
            result: Tensor = net(x)
            return result

    rows = max(1, AT_ONCE // (count * max(weight.shape[1] for weight in weights)))
    whole, found = torch.cat(parts), []
    for start in range(0, len(whole), rows):
        part = whole[start : start + rows]
        found.append(vmap(run, in_dims=(0, 0, None))(weights, biases, part))
        progress(start + len(part), len(whole))
    return torch.cat(found, 1)
