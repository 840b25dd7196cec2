"""What people tried with files of weights (issue 25): each line's right result."""

import hashlib
import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file
from torch import Tensor, nn
from typer.testing import CliRunner, Result

import laconic
from laconic.cli import app
from laconic.errors import InputError
from laconic.weights import convert


def run(*arguments: object) -> Result:
    return CliRunner().invoke(app, [str(argument) for argument in arguments])


def causal_mask(side: int) -> Tensor:
    return torch.full((side, side), float("-inf")).triu(1)


def tied() -> nn.ModuleDict:
    """A language model's embedding and head are one tensor."""
    torch.manual_seed(0)
    net = nn.ModuleDict(
        {"embed": nn.Embedding(40, 20), "body": nn.Linear(20, 20), "head": nn.Linear(20, 40)}
    )
    net["head"].weight = net["embed"].weight
    return net


def test_line_14_one_file_shrunk_five_times_gives_the_same_bytes(tmp_path: Path) -> None:
    notes = {f"key {index}": f"text {index}" for index in range(12)}
    torch.manual_seed(0)
    save_file({"w": torch.randn(40, 40)}, tmp_path / "net.safetensors", metadata=notes)
    files = {laconic.shrink(tmp_path / "net.safetensors") for _ in range(5)}
    assert len(files) == 1
    code = (
        "import hashlib, sys, laconic; "
        "print(hashlib.sha256(laconic.shrink(sys.argv[1])).hexdigest(), end='')"
    )
    other = subprocess.run(
        [sys.executable, "-c", code, str(tmp_path / "net.safetensors")],
        env={**os.environ, "PYTHONHASHSEED": "1"},
        capture_output=True,
        text=True,
        check=True,
    )
    assert other.stdout == hashlib.sha256(files.pop()).hexdigest()


def test_line_14_expand_writes_the_same_bytes_each_time(tmp_path: Path) -> None:
    notes = {f"key {index}": f"text {index}" for index in range(12)}
    save_file({"w": torch.randn(40, 40)}, tmp_path / "net.safetensors", metadata=notes)
    assert run("shrink", tmp_path / "net.safetensors").exit_code == 0
    for name in "ab":
        assert run("expand", tmp_path / "net.lac", "-o", tmp_path / name).exit_code == 0
    assert (tmp_path / "a").read_bytes() == (tmp_path / "b").read_bytes()


def test_line_21_a_tensor_called_metadata_is_kept_or_named(tmp_path: Path) -> None:
    tensors = {"__metadata__": torch.arange(5), "w": torch.ones(2)}
    data = laconic.shrink(tensors)
    assert torch.equal(laconic.expand(data)["__metadata__"], torch.arange(5))
    (tmp_path / "net.lac").write_bytes(data)
    result = run("expand", tmp_path / "net.lac")
    assert result.exit_code == 1
    assert "a tensor called '__metadata__'" in result.stderr
    assert "laconic.expand" in result.stderr
    assert not (tmp_path / "net.safetensors").exists()


@pytest.mark.parametrize("names", [(0, 1), (0, "b"), (b"a", "b")])
def test_line_21_names_that_are_no_texts_are_refused(names: tuple[str, str]) -> None:
    with pytest.raises(InputError, match="name tensors by texts"):
        laconic.shrink(dict.fromkeys(names, torch.ones(3)))


def test_line_23_the_skip_that_is_proposed_for_tied_weights_works() -> None:
    with pytest.raises(InputError, match=r"embed\.weight and head\.weight") as caught:
        convert(tied(), "sparse-vd")
    assert "skip=('head',)" in str(caught.value)
    net = tied()
    with pytest.warns(UserWarning, match="embed"):
        penalty = convert(net, "sparse-vd", skip=("head",))
    assert list(penalty.layers) == ["body"]
    assert net["head"].weight is net["embed"].weight


def test_line_23_two_tied_layers_of_which_one_is_skipped_are_refused_with_both_named() -> None:
    net = nn.Sequential(nn.Linear(8, 8), nn.Linear(8, 8), nn.Linear(8, 8))
    net[2].weight = net[0].weight
    with pytest.raises(InputError, match=r"skip=\('0', '2'\)"):
        convert(net, "sparse-vd", skip=("0",))
    with pytest.warns(UserWarning, match="0, 2"):
        assert list(convert(net, "sparse-vd", skip=("0", "2")).layers) == ["1"]


@pytest.mark.parametrize("dtype", [torch.float32, torch.float16, torch.bfloat16, torch.float64])
def test_line_23_a_mask_of_zero_and_infinity_is_kept_exactly(dtype: torch.dtype) -> None:
    tensors = {"mask": causal_mask(64).to(dtype), "w": torch.randn(64, 64).to(dtype)}
    for request in ({}, {"tolerance": 0.05}, {"bits_per_weight": 5.0}):
        data = laconic.shrink(tensors, **request)
        back = laconic.expand(data)
        assert torch.equal(back["mask"], tensors["mask"])
        assert not torch.equal(back["w"], tensors["w"])


def test_line_23_the_message_for_other_infinite_values_names_what_works(tmp_path: Path) -> None:
    tensors = {"x[0].bias": causal_mask(64) + torch.eye(64), "w": torch.randn(64, 64)}
    with pytest.raises(InputError, match="2016 NaN or infinite values") as caught:
        laconic.shrink(tensors)
    proposed = str(caught.value).partition("tolerance=")[2].partition("}")[0] + "}"
    back = laconic.expand(laconic.shrink(tensors, tolerance=eval(proposed)))
    assert torch.equal(back["x[0].bias"], tensors["x[0].bias"])
    assert not torch.equal(back["w"], tensors["w"])
    save_file(tensors, tmp_path / "net.safetensors")
    failed = run("shrink", tmp_path / "net.safetensors")
    option = failed.stderr.partition("--tolerance '")[2].partition("'")[0]
    assert run("shrink", tmp_path / "net.safetensors", "--tolerance", option).exit_code == 0
