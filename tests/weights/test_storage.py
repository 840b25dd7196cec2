"""Posteriors as files: everything returns, and what does not fit is refused."""

from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file
from torch import nn

import laconic
from laconic.errors import InputError
from laconic.testing.weight_nets import Twice, pictures, small_net
from laconic.weights import METHODS, convert, load_posterior, save_posterior

X = pictures()[0][:8]


@pytest.mark.parametrize("name", sorted(METHODS))
def test_a_saved_posterior_predicts_the_same(name: str, tmp_path: Path) -> None:
    net = small_net()
    settings = {"largest_scale": 0.3} if name == "mnf" else {}
    penalty = convert(net, name, **settings)
    net(X)
    save_posterior(net, tmp_path / "a.safetensors", penalty)
    fresh = small_net(seed=3)
    again = load_posterior(tmp_path / "a.safetensors", fresh)
    assert list(again.layers) == list(penalty.layers)
    assert torch.equal(fresh.eval()(X), net.eval()(X))
    for one, other in zip(penalty.prior.parameters(), again.prior.parameters(), strict=True):
        assert torch.equal(one, other)
    found = [laconic.predict(own, X, samples=3, seed=1).mean for own in (net, fresh)]
    assert torch.equal(*found)


def test_layers_that_were_skipped_stay_ordinary(tmp_path: Path) -> None:
    net = small_net()
    with pytest.warns(UserWarning, match="4"):
        convert(net, "mean-field", skip=("4",))
    save_posterior(net, tmp_path / "a.safetensors")
    fresh = small_net(seed=3)
    with pytest.warns(UserWarning, match="4"):
        load_posterior(tmp_path / "a.safetensors", fresh)
    assert isinstance(fresh[4], nn.Linear)
    assert torch.equal(fresh.eval()(X), net.eval()(X))


def test_shared_layers_stay_shared(tmp_path: Path) -> None:
    net, fresh = Twice(), Twice()
    convert(net, "vmg")
    save_posterior(net, tmp_path / "a.safetensors")
    load_posterior(tmp_path / "a.safetensors", fresh)
    assert fresh.first is fresh.second


def test_what_does_not_fit_is_refused(tmp_path: Path) -> None:
    net, path = small_net(), tmp_path / "a.safetensors"
    with pytest.raises(InputError, match="not converted"):
        save_posterior(net, path)
    with pytest.raises(InputError, match="no posterior"):
        load_posterior(path, net)
    save_file({"x": torch.ones(2)}, path)
    with pytest.raises(InputError, match="no posterior"):
        load_posterior(path, net)
    save_file({"x": torch.ones(2)}, path, metadata={"meta": "{}"})
    with pytest.raises(InputError, match="does not say"):
        load_posterior(path, net)
    convert(net, "mean-field")
    save_posterior(net, path)
    other = nn.Sequential(nn.Linear(3, 2))
    with pytest.raises(InputError, match="no layer '4'"):
        load_posterior(path, other)
    wide = small_net()
    wide[4] = nn.Linear(54, 17)
    with pytest.raises(InputError, match="shape"):
        load_posterior(path, wide)
