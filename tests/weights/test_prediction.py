"""`laconic.predict` on networks of every kind, against draws one by one."""

import pytest
import torch
from torch import Tensor, nn

import laconic
from laconic.distributions.prediction import Prediction, RegressionPrediction
from laconic.errors import InputError
from laconic.testing.weight_nets import pictures, small_net
from laconic.weights import convert, sampling
from laconic.weights.layers import ProbabilisticLayer

X = pictures()[0][:12]


def mlp() -> nn.Sequential:
    torch.manual_seed(0)
    return nn.Sequential(nn.Linear(3, 8), nn.ReLU(), nn.Linear(8, 2, bias=False))


def test_an_ordinary_network_is_one_draw() -> None:
    net = small_net().train()
    found = laconic.predict(net, X, samples=7)
    assert isinstance(found, Prediction)
    assert found.probs.shape == (1, 12, 3)
    torch.testing.assert_close(found.mean, net.eval()(X).softmax(-1).detach())
    assert not found.probs.requires_grad


@pytest.mark.parametrize("batch", [5, 100])
@pytest.mark.parametrize("name", ["dropout", "kmeans", "mean-field", "mnf", "vmg"])
def test_every_method_predicts(name: str, batch: int) -> None:
    net = small_net()
    convert(net, name)
    net.train()
    found = laconic.predict(net, X, samples=4, batch=batch)
    assert found.mean.shape == (12, 3)
    assert all(layer.training for layer in net.modules())
    layers = [one for one in net.modules() if isinstance(one, ProbabilisticLayer)]
    assert all(one.drawn is None for one in layers)


@pytest.mark.parametrize("together", [False, True])
def test_moments_are_those_of_single_draws(together: bool) -> None:
    """Mean logits within five standard errors of 300 draws each: a false alarm in a million."""
    net, x = (mlp(), torch.randn(3, 3)) if together else (small_net(), X[:3])
    convert(net, "mean-field", log_variance=-4.0)
    torch.manual_seed(1)
    with sampling(net.eval()), torch.no_grad():
        wanted = torch.stack([net(x).softmax(-1) for _ in range(300)])
    found = laconic.predict(net, x, samples=300)
    error = ((wanted.var(0) + found.probs.var(0)) / 300).sqrt()
    assert float(((wanted.mean(0) - found.mean).abs() / error).max()) < 5
    ratio = wanted.var(0) / found.probs.var(0)
    assert 0.55 < float(ratio.min()) <= float(ratio.max()) < 1.8


def test_one_draw_is_one_function() -> None:
    """The same input has the same outputs in all batches, differently for each draw."""
    net = small_net()
    convert(net, "mean-field", log_variance=-4.0)
    found = laconic.predict(net, X[:1].expand(6, -1, -1, -1), samples=3, batch=2)
    torch.testing.assert_close(found.probs, found.probs[:, :1].expand(-1, 6, -1))
    assert float((found.probs[0] - found.probs[1]).abs().max()) > 1e-3


def test_seeds_fix_the_draws_and_leave_the_generator() -> None:
    net = small_net()
    convert(net, "mean-field", log_variance=-4.0)
    state = torch.get_rng_state()
    first, second = (laconic.predict(net, X, samples=3, seed=4) for _ in range(2))
    assert torch.equal(first.mean, second.mean)
    assert torch.equal(torch.get_rng_state(), state)


def test_many_draws_of_a_large_layer_are_made_in_parts(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("laconic.weights.prediction.DRAWN_NUMBERS", 3000)
    monkeypatch.setattr("laconic.weights.prediction.AT_ONCE", 60)
    for net, x in ((small_net(), X), (mlp(), torch.randn(12, 3))):
        convert(net, "mean-field")
        assert laconic.predict(net, x, samples=5).mean.shape[0] == 12


def test_dropout_modules_draw_where_wanted() -> None:
    net = nn.Sequential(nn.Linear(3, 50), nn.Dropout(0.5), nn.Linear(50, 2))
    x = torch.randn(4, 3)
    assert laconic.predict(net, x).epistemic.max() < 1e-6
    found = laconic.predict(net, x, samples=20, dropout=True)
    assert isinstance(found, Prediction)
    assert found.probs.shape == (20, 4, 2)
    assert float(found.epistemic.min()) > 1e-5


def test_networks_that_view_their_pictures_are_predicted() -> None:
    class Viewer(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.first, self.last = nn.Conv2d(2, 3, 3), nn.Linear(12, 2)

        def forward(self, x: Tensor) -> Tensor:
            result: Tensor = self.last(self.first(x).view(len(x), -1))
            return result

    net = Viewer()
    x = torch.randn(5, 2, 4, 4)
    wanted = net(x).softmax(-1).detach()
    torch.testing.assert_close(laconic.predict(net, x).mean, wanted)
    convert(net, "mean-field")
    assert laconic.predict(net, x, samples=2).mean.shape == (5, 2)


def test_regressions() -> None:
    net, x = mlp(), torch.randn(6, 3)
    for noise, scale in ((0.3, 0.3), (torch.tensor([0.3, 0.3]), 0.3)):
        found = laconic.predict(net, x, noise=noise)
        assert isinstance(found, RegressionPrediction)
        torch.testing.assert_close(found.aleatoric, torch.full((6, 2), scale**2))
        torch.testing.assert_close(found.mean, net(x).detach())
    pair = laconic.predict(net, x, noise="outputs")
    torch.testing.assert_close(pair.aleatoric, net(x)[:, 1:].exp().detach())


def test_modules_that_predict_by_themselves_are_called_by_batch() -> None:
    class Own(nn.Module):
        def predict(self, x: Tensor, samples: int) -> Prediction:
            return Prediction.from_logits(x.expand(samples, *x.shape))

    x = torch.randn(7, 3)
    found = laconic.predict(Own(), x, samples=2, batch=3)
    torch.testing.assert_close(found.mean, x.softmax(-1))


@pytest.mark.parametrize(
    ("given", "words"),
    [
        ({"samples": 0}, "samples is 0"),
        ({"batch": -1}, "batch is -1"),
        ({"x": torch.full((2, 1, 8, 8), torch.nan)}, "NaN"),
        ({"x": torch.zeros(0, 1, 8, 8)}, "one input or more"),
        ({"x": [1.0]}, "type list"),
        ({"net": "net"}, "torch module"),
        ({"noise": 0.0}, "above 0"),
        ({"noise": "large"}, "outputs"),
        ({"net": nn.Sequential(nn.Flatten(), nn.Linear(64, 1))}, "no classifier"),
        ({"net": nn.Identity()}, "shape"),
    ],
)
def test_bad_requests_are_refused(given: dict[str, object], words: str) -> None:
    arguments: dict[str, object] = {"net": small_net(), "x": X, **given}
    with pytest.raises(InputError, match=words):
        laconic.predict(**arguments)  # type: ignore[arg-type]


def test_weights_that_are_not_finite_are_refused() -> None:
    net = small_net()
    with torch.no_grad():
        net[0].weight.fill_(torch.inf)
    with pytest.raises(InputError, match="NaN or infinite"):
        laconic.predict(net, X)
