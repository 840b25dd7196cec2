"""Soft weight-sharing: its penalty, its subset, what the trainer reaches, and what is stored."""

from copy import deepcopy
from pathlib import Path

import pytest
import torch
from torch import Tensor, nn
from torch.distributions import Gamma, Normal

from laconic.errors import ConfigError
from laconic.training.classification import ClassifierLoss, LabelledBatches, error_percent
from laconic.training.loop import LoopConfig, Trainer
from laconic.training.schedules import LearningRate
from laconic.weights.convert import Penalty, convert, plain
from laconic.weights.methods.mixture import GammaPrior
from laconic.weights.methods.soft_sharing import NotSettled, SharedMixture, SoftSharing

Data = tuple[Tensor, Tensor]


def shared(penalty: Penalty) -> SharedMixture:
    assert isinstance(penalty.prior, SharedMixture)
    return penalty.prior


def train(net: nn.Module, penalty: Penalty | None, data: Data, folder: Path, steps: int) -> None:
    """With the prior beside the network, as the module says."""
    Trainer(
        nn.ModuleDict({"net": net, "prior": penalty.prior}) if penalty else net,
        ClassifierLoss(net, penalty, len(data[0])),
        LabelledBatches(*data, 100),
        LearningRate(peak=5e-3, warmup_steps=1, decay_rate=1.0),
        LoopConfig(steps=steps, precision="32-true", log_steps=steps, slow_prefix=""),
        folder,
        {},
        penalty.rate_factors if penalty else None,
    ).run()


@pytest.mark.parametrize("biases", [True, False])
def test_penalty_is_the_negative_log_prior(small_net: nn.Sequential, biases: bool) -> None:
    """Every number and hyper-prior once, at full weight: neither a mean nor one per layer."""
    names = [n for n, _ in small_net.named_parameters() if biases or n.endswith("weight")]
    numbers = torch.cat([small_net.get_parameter(name).detach().reshape(-1) for name in names])
    penalty = convert(
        small_net, SoftSharing(0.5, biases=biases, start_deviation=0.1, deviation=0.02)
    )
    means = torch.cat([torch.zeros(1), torch.linspace(*numbers.aminmax(), 16)]).double()
    mixing = torch.tensor([0.99] + [0.01 / 16] * 16, dtype=torch.float64)
    density = (mixing * Normal(means, 0.1).log_prob(numbers[:, None].double()).exp()).sum(1).log()
    precision = torch.tensor(100.0, dtype=torch.float64)
    hyper = 0.0
    for deviation_count, times in ((10_000.0, 1), (500.0, 16)):
        gamma = GammaPrior.around(0.02, deviation_count)
        exact = Gamma(*(torch.tensor(v, dtype=torch.float64) for v in (gamma.shape, gamma.rate)))
        hyper += times * float(exact.log_prob(precision))
    truth = -0.5 * (float(density.sum()) + hyper)
    assert float(penalty().detach()) == pytest.approx(truth, rel=1e-5)


@pytest.mark.slow
def test_a_subset_estimates_value_and_gradient_without_bias(small_net: nn.Sequential) -> None:
    """1000 draws: each of some 15 z-scores stays within 4.5: one false alarm in 10^4.

    The gradient's sum over a layer is looked at, as single weights are seldom drawn.
    """
    settings = SoftSharing(tau=1.0, subset=40, start_deviation=0.1)
    penalty = convert(small_net, settings)
    prior = shared(penalty)
    watched = [prior.mixture.means, prior.mixture.log_precisions]
    rows = [layer.posterior.weight for layer in penalty.layers.values()]

    def numbers() -> Tensor:
        value = penalty()
        found = torch.autograd.grad(value, [*watched, *rows])
        parts = [found[0][:4], found[1][:4], *(part.sum()[None] for part in found[2:])]
        return torch.cat([value.detach()[None], *parts]).double()

    torch.manual_seed(0)
    draws = torch.stack([numbers() for _ in range(1000)])
    prior.eval()
    exact = numbers()
    error = (draws.mean(0) - exact) / (draws.std(0) / 1000**0.5)
    assert float(draws.std(0).min()) > 0
    assert float(error.abs().max()) < 4.5
    assert float(penalty().detach()) == pytest.approx(float(exact[0]))


def test_the_trainer_reaches_everything_once(small_net: nn.Sequential, tmp_path: Path) -> None:
    penalty = convert(small_net, SoftSharing(zero_share_count=100.0))
    both = nn.ModuleDict({"net": small_net, "prior": penalty.prior})
    names = [name for name, _ in both.named_parameters(remove_duplicate=False)]
    assert len(names) == len({id(p) for p in both.parameters()}) == 6 + 4
    assert sum(name.startswith("prior.") for name in names) == 4
    data = LabelledBatches(torch.zeros(4, 1, 8, 8), torch.zeros(4, dtype=torch.int64), 2)
    loss = ClassifierLoss(small_net, penalty, 4)
    rate, config = LearningRate(), LoopConfig(slow_prefix="")
    trainer = Trainer(both, loss, data, rate, config, tmp_path, {}, penalty.rate_factors)
    factor = {id(p): group["factor"] for group in trainer.optimizer.param_groups
              for p in group["params"]}  # fmt: skip
    rates = {name: factor[id(p)] for name, p in both.named_parameters() if name.startswith("prior")}
    assert rates == {
        "prior.mixture.means": 0.2,
        "prior.mixture.log_precisions": 6.0,
        "prior.mixture.mixing_logits": 6.0,
        "prior.mixture.zero_logit": 6.0,
    }
    assert {factor[id(p)] for p in small_net.parameters()} == {1.0}


def test_a_copy_of_both_is_a_network_of_its_own(small_net: nn.Sequential) -> None:
    """The loop keeps an averaged copy: its prior must speak of the copied weights."""
    penalty = convert(small_net, SoftSharing())
    copy = deepcopy(nn.ModuleDict({"net": small_net, "prior": penalty.prior}))
    copied = copy["prior"]
    assert isinstance(copied, SharedMixture)
    with torch.no_grad():
        copy["net"][0].posterior.weight.zero_()
    assert int((copied.values() == 0).sum()) == 54
    assert int((shared(penalty).values() == 0).sum()) == 0


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore::laconic.weights.NotSettled")  # 8 % in one layer
def test_training_clusters_weights(
    small_net: nn.Sequential, small_data: Data, tmp_path: Path
) -> None:
    """Most weights go to zero, the others to few values, and classes are predicted as before."""
    x, y = small_data
    train(small_net, None, small_data, tmp_path / "a", 60)
    assert error_percent(small_net, x, y) < 2
    penalty = convert(small_net, SoftSharing(0.03, deviation=0.02, start_deviation=0.1, subset=500))
    start = deepcopy(dict(shared(penalty).named_parameters()))
    train(small_net, penalty, small_data, tmp_path / "b", 200)
    end = dict(shared(penalty).named_parameters())
    assert all(bool((end[name] != value).all()) for name, value in start.items())
    before = penalty.layers["4"].posterior.point().weight
    assert len(before.unique()) > 100, "point() gives the weights as they are before quantise()"
    penalty.quantise()
    values = shared(penalty).values().detach()
    assert set(values.tolist()) <= {0.0, *shared(penalty).merged().means.tolist()}
    assert len(values.unique()) <= 17
    assert float((values == 0).float().mean()) > 0.6
    assert error_percent(small_net, x, y) < 4
    small = plain(small_net)
    torch.testing.assert_close(small.eval()(x), small_net.eval()(x))
    assert len(small[4].weight.unique()) <= 17


def test_quantising_is_done_once(small_net: nn.Sequential) -> None:
    """The second time nothing moves: means belong to their own components."""
    penalty = convert(small_net, SoftSharing(start_deviation=0.02, zero_share=0.5))
    with pytest.warns(NotSettled, match="by .*%"):
        penalty.quantise()
    once = shared(penalty).values().detach().clone()
    assert 5 < len(once.unique()) <= 17
    penalty.quantise()
    assert torch.equal(shared(penalty).values(), once)


def test_biases_can_be_left_out(small_net: nn.Sequential) -> None:
    bias = small_net[4].bias.detach().clone()
    penalty = convert(small_net, SoftSharing(biases=False))
    with pytest.warns(NotSettled):
        penalty.quantise()
    point = penalty.layers["4"].posterior.point()
    assert point.bias is not None
    assert torch.equal(point.bias, bias)
    assert not torch.equal(point.weight, bias)


def test_deviations_start_from_the_weights(small_net: nn.Sequential) -> None:
    """A network of a thousand times smaller weights starts in the same way."""
    found = []
    for factor in (1.0, 1e-3):
        net = deepcopy(small_net)
        with torch.no_grad():
            for parameter in net.parameters():
                parameter.mul_(factor)
        prior = shared(convert(net, SoftSharing()))
        size = float(prior.values().detach().square().mean().sqrt())
        start = float(prior.mixture.log_precisions.detach()[0].mul(-0.5).exp())
        found.append((start / size, float(prior.deviation) / size))
    assert found[0] == pytest.approx((0.25, 0.125), rel=1e-4)
    assert found[1] == pytest.approx(found[0], rel=1e-4)
    blank = deepcopy(small_net)
    for parameter in blank.parameters():
        nn.init.zeros_(parameter)
    convert(blank, SoftSharing()).quantise()


@pytest.mark.parametrize(
    "wrong", [{"components": 1}, {"zero_share": 1.0}, {"tau": 0.0}, {"subset": -1}]
)
def test_settings_out_of_range_are_refused(wrong: dict[str, float]) -> None:
    with pytest.raises(ConfigError, match=f"sws.{next(iter(wrong))}"):
        SoftSharing(**wrong)  # type: ignore[arg-type]
