"""Seconds of a forward pass: LeNet-5-Caffe beside the networks that pruning leaves of it.

    python benchmarks/pruned/run.py [--weights NAME=plain.safetensors]

Channels are switched off at random until the sizes are the sources' for group normal-Jeffreys,
8-13-88-13, and group horseshoe, 5-10-76-16; speed depends on sizes only. Trained networks are state
dicts with exact zeros where they are pruned, such as `plain.safetensors` in the folder of a run of
network compression. A network and what is left of it take turns, so that whatever else the machine
does meets both.

Source: Louizos 6.5.3 and figure 17: a batch of 8192.
"""

import argparse
import copy
import json
import statistics
import time
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file
from torch import Tensor, nn

from laconic.evaluation.report.provenance import describe_run
from laconic.networks.lenet import lenet_5_caffe
from laconic.weights import smaller, widths

HERE = Path(__file__).parent
REPOSITORY = HERE.parents[1]
SEED, POSITIONS = 0, 16  # of every filter of the second convolution, when it is flattened
SIZES = {"BC-GNJ's sizes, random": (8, 13, 88, 13), "BC-GHS' sizes, random": (5, 10, 76, 16)}


def pruned(*sizes: int) -> nn.Module:
    """LeNet-5-Caffe with zeros at random, so that so many filters and linear inputs are left."""
    filters, inputs = sizes[:2], sizes[2:]
    torch.manual_seed(SEED)
    net = lenet_5_caffe()
    conv1, conv2 = net.get_submodule("conv1"), net.get_submodule("conv2")
    fc1, fc2 = net.get_submodule("fc1"), net.get_submodule("fc2")
    assert isinstance(conv1, nn.Conv2d)
    assert isinstance(conv2, nn.Conv2d)
    assert isinstance(fc1, nn.Linear)
    assert isinstance(fc2, nn.Linear)
    with torch.no_grad():
        conv1.weight[torch.randperm(conv1.out_channels)[filters[0] :]] = 0
        order = torch.randperm(conv2.out_channels)
        conv2.weight[order[filters[1] :]] = 0
        # Every filter that is left must be read once, or it would be pruned, too.
        first = order[: filters[1]] * POSITIONS
        others = (first[:, None] + torch.arange(1, POSITIONS)).flatten()
        read = torch.cat([first, others[torch.randperm(len(others))]])[: inputs[0]]
        fc1.weight[:, ~torch.isin(torch.arange(fc1.in_features), read)] = 0
        fc2.weight[:, torch.randperm(fc2.in_features)[inputs[1] :]] = 0
    return net


def loaded(path: Path) -> nn.Module:
    """A trained network with the zeros of its pruning; a narrow one is filled up with zeros."""
    net, state = lenet_5_caffe(), load_file(path)
    for name, whole in net.state_dict().items():
        whole.zero_()
        # Inputs of the first linear layer go channel by channel, so those that are left come first.
        whole[tuple(slice(count) for count in state[name].shape)] = state[name]
    return net


def seconds(nets: list[nn.Module], x: Tensor, repeats: int) -> list[list[float]]:
    """Times of every network, which take turns; the first turn warms up and is not counted."""
    times: list[list[float]] = [[] for _ in nets]
    with torch.inference_mode():
        for repeat in range(repeats + 1):
            for net, kept in zip(nets, times, strict=True):
                start = time.perf_counter()
                net(x)
                if repeat:
                    kept.append(time.perf_counter() - start)
    return times


def products(net: nn.Module, x: Tensor) -> int:
    """Multiplications for one example, those of layers only."""
    total = 0

    def count(layer: nn.Module, _: Any, result: Tensor) -> None:
        nonlocal total
        assert isinstance(layer.weight, Tensor)
        total += layer.weight[0].numel() * result[0].numel()

    layers = [net.get_submodule(name) for name in widths(net)]
    hooks = [layer.register_forward_hook(count) for layer in layers]
    with torch.inference_mode():
        net(x[:1])
    for hook in hooks:
        hook.remove()
    return total


def measured(name: str, masked: nn.Module, x: Tensor, repeats: int) -> dict[str, Any]:
    """One network beside what is left of it, and beside itself in the other's memory layout."""
    masked.eval()
    small = smaller(masked, x[:2])
    with torch.inference_mode():
        difference = float((small(x) - masked(x)).abs().max())
    laid_out = copy.deepcopy(masked).to(memory_format=torch.channels_last)
    whole, same_layout, part = seconds([masked, laid_out, small], x, repeats)
    ratios = [a / b for a, b in zip(whole, part, strict=True)]
    return {
        "name": name,
        "widths": widths(small),
        "numbers": [sum(p.numel() for p in net.parameters()) for net in (masked, small)],
        "products_per_example": [products(net, x) for net in (masked, small)],
        "largest_difference": difference,
        "ratio": statistics.median(ratios),
        "ratio_range": [min(ratios), max(ratios)],
        "ratio_to_same_layout": statistics.median(
            a / b for a, b in zip(same_layout, part, strict=True)
        ),
        "seconds": {"original": whole, "channels_last": same_layout, "smaller": part},
    }


def main() -> None:
    """Measure, and write results.json."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--weights", action="append", default=[], metavar="NAME=PATH")
    parser.add_argument("--batch", type=int, default=8192)
    parser.add_argument("--repeats", type=int, default=9)
    parser.add_argument("--threads", type=int, default=torch.get_num_threads())
    parser.add_argument("--output", type=Path, default=HERE / "results.json")
    options = parser.parse_args()
    started = time.time()
    torch.set_num_threads(options.threads)
    x = torch.rand(options.batch, 1, 28, 28)
    nets = {name: pruned(*sizes) for name, sizes in SIZES.items()}
    for given in options.weights:
        name, _, path = given.partition("=")
        nets[name] = loaded(Path(path))
    rows = [measured(name, net, x, options.repeats) for name, net in nets.items()]
    named = "".join(f' --weights "{given.partition("=")[0]}=..."' for given in options.weights)
    command = f"python benchmarks/pruned/run.py --threads {options.threads}{named}"
    results = {
        "title": "Forward pass of a pruned network",
        "run": describe_run(command, started, REPOSITORY, seed=SEED, threads=options.threads),
        "batch": options.batch,
        "rows": rows,
    }
    options.output.write_text(json.dumps(results, indent=2) + "\n")
    for row in rows:
        print(row["name"], row["widths"], f"{row['ratio']:.1f}x", row["ratio_range"])


if __name__ == "__main__":
    main()
