"""The suite of the methods that make weights probabilistic.

Laws of files, of `plain` and of `smaller` are for posteriors with a point (`Storable`); they are
skipped for methods whose posteriors only predict.
"""

import warnings
from abc import ABC, abstractmethod
from copy import deepcopy
from typing import ClassVar
from unittest import SkipTest

import torch
from torch import Tensor, nn

from laconic.api import expand, shrink
from laconic.codecs.network.file import NetworkFile
from laconic.codecs.network.manifest import Method
from laconic.codecs.network.posterior import steps_of, stored_names
from laconic.errors import InputError
from laconic.testing.checks import FALSE_ALARM
from laconic.testing.weight_nets import (
    LAYERS,
    Bench,
    Twice,
    check_raises,
    doubled,
    every_kind,
    given,
    pictures,
    small_net,
)
from laconic.weights import UntouchedModules, convert, plain, sampling, smaller, widths
from laconic.weights.base import Storable, WeightMethod, WeightPosterior
from laconic.weights.layers import ProbabilisticLayer

Draws = tuple[Tensor, Tensor | None]


class WeightSuite(ABC):
    """The laws of every method, on networks of a thousand weights."""

    is_divergence: ClassVar[bool] = True
    """Whether the penalty is a sum over weights that is never negative, as a KL is."""

    start_error: ClassVar[float] = 1e-3
    """Largest change of the outputs by conversion, relative to their root mean square."""

    draws: ClassVar[int] = 1500
    """Number of draws of outputs, and of weights, that are compared."""

    @abstractmethod
    def make(self) -> WeightMethod:
        """The method under test."""

    def noisy(self) -> WeightMethod:
        """The same method with much noise, so that draws differ."""
        return self.make()

    def require_point(self) -> None:
        """Skip a law of stored networks.

        Raises:
            SkipTest: the method's posteriors have no point.
        """
        layers = convert(small_net(), self.make()).layers.values()
        if not all(isinstance(layer.posterior, Storable) for layer in layers):
            raise SkipTest("the method's posteriors predict and are not stored")

    def draw(self, posterior: WeightPosterior, count: int) -> Draws | None:
        """Draws from the posterior that the method states.

        Args:
            posterior: of a layer.
            count: of draws.

        Returns:
            Weights `(count, *weight)` and biases `(count, outputs)`, or None for no bias; None
            if training draws nothing.
        """
        return None

    def test_the_penalty_is_finite_and_reaches_every_parameter(self) -> None:
        """A scalar in nats; loss and penalty have gradients, none only zero, to all that learns."""
        bench = Bench(self.make())
        nats = bench.penalty()
        assert nats.shape == ()
        assert bool(nats.isfinite())
        if self.is_divergence:
            assert float(nats.detach()) >= 0
        # It has a graph, even where it is zero.
        nats.backward()  # type: ignore[no-untyped-call]
        bench.everything.zero_grad()
        bench.loss().backward()  # type: ignore[no-untyped-call]
        for name, parameter in bench.everything.named_parameters():
            assert parameter.grad is not None, name
            assert bool(parameter.grad.isfinite().all()), name
            assert bool(parameter.grad.any()), name

    def test_the_penalty_is_a_sum_over_weights(self) -> None:
        """Every output twice: twice the nats, within a quarter for the penalty of groups."""
        if not self.is_divergence:
            raise SkipTest("the penalty is no divergence, by declaration")
        layer = small_net()[4]
        once, twice = (
            float(convert(nn.Sequential(one), self.make())().detach())
            for one in (layer, doubled(layer))
        )
        assert 1.5 * once <= twice <= 2.5 * once

    def test_layers_of_all_kinds_keep_their_shapes(self) -> None:
        """Batches, single inputs and further axes, drawn and evaluated."""
        for layer, shape in LAYERS:
            net, x = nn.Sequential(deepcopy(layer)), given(layer, shape)
            wanted = net(x).shape
            penalty = convert(net, self.make())
            assert net.train()(x).shape == wanted, layer
            penalty.constrain()
            assert net.eval()(x).shape == wanted, layer

    def test_evaluation_computes_with_the_point(self) -> None:
        """Layers of all kinds compute the same as the ordinary layers with the point's numbers."""
        self.require_point()
        for layer, shape in LAYERS:
            net, x = nn.Sequential(deepcopy(layer)), given(layer, shape)
            penalty = convert(net, self.noisy())
            net(x)
            penalty.constrain()
            net.eval()
            torch.testing.assert_close(plain(net)(x), net(x), rtol=1e-5, atol=1e-6)
            self._check_point(penalty.layers["0"], layer)

    def _check_point(self, converted: ProbabilisticLayer, layer: nn.Module) -> None:
        point, nonzero = converted.point(), converted.posterior.nonzero().detach()
        assert isinstance(layer.weight, Tensor)
        assert point.weight.shape == layer.weight.shape
        assert (point.bias is None) == (getattr(layer, "bias", None) is None)
        assert bool(point.weight.isfinite().all())
        assert min(point.weight_step or 0.0, point.bias_step or 0.0) >= 0
        assert bool(((nonzero >= 0) & (nonzero <= 1)).all())
        assert bool((nonzero.expand_as(point.weight)[point.weight != 0] > 0).all())

    def test_conversion_starts_from_the_trained_weights(self) -> None:
        """The network computes the same as before, within `start_error`."""
        net, x = small_net(), pictures()[0]
        before = net(x).detach()
        convert(net, self.make())
        change = (net.eval()(x).detach() - before).square().mean().sqrt()
        assert float(change) <= self.start_error * float(before.square().mean().sqrt())

    def test_draws_are_those_of_the_stated_posterior(self) -> None:
        """Mean and variance of each output against drawn weights: all within `FALSE_ALARM`.

        If nothing is drawn, training computes the same as evaluation.
        """
        torch.manual_seed(0)
        bench = Bench(self.noisy())
        for name, shape in (("0", (1, 1, 8, 8)), ("4", (1, 54))):
            layer, x = bench.penalty.layers[name].train(), torch.randn(shape)
            with torch.no_grad():
                stated = self.draw(layer.posterior, self.draws)
                if stated is None:
                    assert torch.equal(layer(x), layer.eval()(x))
                    continue
                found = torch.cat([layer(x) for _ in range(self.draws)])
                weights, biases = stated
                rows = zip(weights, weights if biases is None else biases, strict=True)
                drawn = torch.cat(
                    [layer.apply_layer(x, w, None if biases is None else b) for w, b in rows]
                )
            check_moments(found, drawn)

    def test_evaluation_draws_nothing(self) -> None:
        """The same outputs for any state of the random generator, which does not change."""
        bench = Bench(self.noisy())
        bench.train(2)
        bench.net.eval()
        before = torch.get_rng_state()
        first = bench.net(bench.x)
        assert torch.equal(torch.get_rng_state(), before)
        torch.manual_seed(99)
        assert torch.equal(bench.net(bench.x), first)

    def test_sampling_draws_in_evaluation_mode(self) -> None:
        """Within `sampling` the draws are those of training mode; afterwards nothing is drawn."""
        bench = Bench(self.noisy())
        bench.train(2)
        torch.manual_seed(3)
        wanted = bench.net(bench.x)
        evaluated = bench.net.eval()(bench.x)
        with sampling(bench.net):
            torch.manual_seed(3)
            assert torch.equal(bench.net(bench.x), wanted)
            assert not any(module.training for module in bench.net.modules())
        assert torch.equal(bench.net(bench.x), evaluated)

    def test_constraining_twice_is_constraining_once(self) -> None:
        """After a large step, too; nothing becomes NaN."""
        bench = Bench(self.make(), rate=0.5)
        bench.train(3)
        layers = nn.ModuleDict({str(i): one for i, one in enumerate(bench.penalty.layers.values())})
        before = deepcopy(layers.state_dict())
        bench.penalty.constrain()
        for name, value in layers.state_dict().items():
            assert torch.equal(value, before[name]), name
        assert all(bool(value.isfinite().all()) for value in layers.parameters())

    def test_types_and_modes_stay(self) -> None:
        """A float64 network in evaluation mode stays one."""
        net, x = every_kind().double().eval(), torch.randn(4, 2, 16, 12).double()
        penalty = convert(net, self.make())
        assert not any(module.training for module in net.modules())
        assert net(x).dtype == torch.float64
        assert net.train()(x).dtype == torch.float64
        assert bool(penalty().isfinite())

    def test_the_plain_network_has_the_types_of_the_first_one(self) -> None:
        """Of layers and of numbers."""
        self.require_point()
        net = every_kind().double()
        convert(net, self.make())
        assert {p.dtype for p in plain(net).parameters()} == {torch.float64}
        kinds = [type(one) for one in every_kind().children()]
        assert [type(one) for one in plain(net).children()] == kinds

    def test_a_layer_used_twice_is_converted_once(self) -> None:
        """It stays shared, in the `plain` network, too."""
        net = Twice()
        penalty = convert(net, self.make())
        assert list(penalty.layers) == ["first"]
        assert isinstance(net.first, ProbabilisticLayer)
        assert net.first is net.second
        if isinstance(net.first.posterior, Storable):
            ordinary = plain(net)
            assert ordinary.first is ordinary.second

    def test_other_modules_are_named(self) -> None:
        """And left as they are."""
        net = nn.Sequential(nn.Linear(4, 4), nn.BatchNorm1d(4))
        norm = net[1]
        assert _quietly(net, self.make()) == ("1",)
        assert net[1] is norm

    def test_what_cannot_be_converted_is_refused_and_left_alone(self) -> None:
        """NaN, infinite and tied weights, a second conversion."""
        for value in (torch.nan, torch.inf):
            net = small_net()
            with torch.no_grad():
                dict(net.named_parameters())["4.bias"][1] = value
            check_raises(InputError, "4.bias", convert, net, self.make())
            assert isinstance(net[0], nn.Conv2d)
        tied = nn.Sequential(nn.Linear(4, 4), nn.Linear(4, 4))
        tied[1].weight = tied[0].weight
        check_raises(InputError, "1.weight", convert, tied, self.make())
        net = small_net()
        convert(net, self.make())
        check_raises(InputError, "converted", convert, net, self.make())

    def test_the_smaller_network_computes_the_same(self) -> None:
        """Zero filters and units stay zero and are removed; outputs change by at most 1e-5."""
        self.require_point()
        bench = Bench(self.make(), zeros=True)
        bench.quantise()
        bench.net.eval()
        small = smaller(bench.net, bench.x[:2])
        first, second = (widths(small)[name] for name in ("0", "4"))
        assert first[1] <= 5
        assert second[0] <= 45
        assert second[1] <= 15
        wanted = plain(bench.net)(bench.x)
        torch.testing.assert_close(small(bench.x), wanted, rtol=1e-5, atol=1e-5)

    def test_the_file_holds_the_finished_network(self) -> None:
        """Within the posterior's step; bit for bit where there is none.

        Pruned weights stay pruned. Weights that are encoded as draws are finite.
        """
        self.require_point()
        bench = Bench(self.make(), zeros=True)
        bench.train(2)
        bench.quantise()
        bench.net.eval()
        steps, stored = steps_of(bench.net), plain(bench.net).state_dict()
        data = shrink(bench.net)
        finished = {name: own for own, name in stored_names(bench.net, stored).items()}
        for entry, tensor in NetworkFile.read(data).tensors():
            wanted = stored.pop(finished[entry.name])
            assert bool(tensor.isfinite().all()), entry.name
            if entry.method == Method.DRAWN:
                continue
            error = float((tensor - wanted).abs().max())
            assert error <= 1.001 * steps[finished[entry.name]], entry.name
            assert not bool(tensor[wanted == 0].any()), entry.name
        assert not stored
        fresh = small_net()
        decoded = expand(data, into=fresh)
        own = fresh.state_dict()
        assert all(torch.equal(own[finished[name]], tensor) for name, tensor in decoded.items())
        assert own.keys() == set(finished.values())

    def test_training_resumes_exactly(self) -> None:
        """From the state of network, prior and optimiser: the same weights to the last bit."""
        first = Bench(self.make())
        first.train(3)
        second = Bench(self.make(), seed=5)
        second.everything.load_state_dict(deepcopy(first.everything.state_dict()))
        second.optimizer.load_state_dict(deepcopy(first.optimizer.state_dict()))
        assert torch.equal(second.net.eval()(first.x), first.net.eval()(first.x))
        for bench in (first, second):
            bench.net.train()
            torch.manual_seed(7)
            bench.train(3)
        wanted = first.everything.state_dict()
        for name, value in second.everything.state_dict().items():
            assert torch.equal(value, wanted[name]), name
        torch.manual_seed(8)
        nats = first.penalty()
        torch.manual_seed(8)
        assert torch.equal(second.penalty(), nats)


def check_moments(found: Tensor, stated: Tensor) -> None:
    """Check that two samples of the same outputs have the same means and variances.

    Args:
        found: shape `(count, ...)`.
        stated: the same.

    Raises:
        AssertionError: a moment differs more than equal ones do at the rate `FALSE_ALARM`.
    """
    found, stated = (sample.double().flatten(1) for sample in (found, stated))
    tests = 2 * found.shape[1]
    rate = torch.tensor(FALSE_ALARM / (2 * tests), dtype=torch.float64)
    critical = -float(torch.special.ndtri(rate))
    for power in (1, 2):
        centre = 0.0 if power == 1 else torch.cat([found, stated]).mean(0)
        one, other = ((sample - centre) ** power for sample in (found, stated))
        error = torch.sqrt((one.var(0) + other.var(0)) / len(one)) + 1e-9
        worst = float(((one.mean(0) - other.mean(0)).abs() / error).max())
        assert worst < critical, f"moment {power} is off by {worst:.1f} standard errors"


def _quietly(net: nn.Module, method: WeightMethod) -> tuple[str, ...]:
    """Convert, check that one warning names all untouched modules, and return their names."""
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        names = convert(net, method).untouched
    messages = [str(one.message) for one in caught if issubclass(one.category, UntouchedModules)]
    assert len(messages) == 1
    assert all(name in messages[0] for name in names)
    return names
