"""Networks that are stored with their distribution predict as before, within rounding."""

import pytest
import torch

import laconic
from laconic.errors import InputError
from laconic.testing.weight_nets import Bench, small_net
from laconic.weights import convert, make_method

CODED = {"mean-field": {}, "log-uniform": {}, "dropout": {}, "vmg": {"rank": 1}, "mnf": {}}


@pytest.mark.parametrize("name", sorted(CODED))
def test_predictions_stay(name: str) -> None:
    """Means and entropies of 100 draws with the same seed change by less than one deviation."""
    bench = Bench(make_method(name, **CODED[name]))
    bench.train(3)
    data = laconic.shrink(bench.net, distribution=True)
    fresh = small_net(seed=7)
    laconic.expand(data, into=fresh)
    before, after = (
        laconic.predict(net, bench.x, samples=100, seed=1) for net in (bench.net, fresh)
    )
    assert float((before.mean - after.mean).abs().max()) < 0.03
    assert float((before.entropy - after.entropy).abs().max()) < 0.05
    assert float((before.epistemic - after.epistemic).abs().max()) < 0.02


def test_coarser_steps_make_smaller_files() -> None:
    net = small_net()
    convert(net, "mean-field")
    fine, coarse = (len(laconic.shrink(net, distribution=True, step_scale=s)) for s in (0.2, 4.0))
    assert coarse < fine


def test_a_network_of_another_architecture_stays_as_it_was() -> None:
    net = small_net()
    convert(net, "mean-field")
    data = laconic.shrink(net, distribution=True)
    other = torch.nn.Sequential(torch.nn.Linear(3, 2))
    with pytest.raises(InputError, match="architecture"):
        laconic.expand(data, into=other)
    assert isinstance(other[0], torch.nn.Linear)


def test_what_has_no_distribution_is_refused() -> None:
    net = small_net()
    with pytest.raises(InputError, match="converted"):
        laconic.shrink(net, distribution=True)
    convert(net, "kmeans")
    with pytest.raises(InputError, match="weights alone"):
        laconic.shrink(net, distribution=True)
    net = small_net()
    convert(net, "mean-field")
    with pytest.raises(InputError, match="step_scale alone"):
        laconic.shrink(net, distribution=True, tolerance=0.1)
