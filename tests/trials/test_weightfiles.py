"""What people tried with files of weights (issue 25): each line's right result."""

import hashlib
import json
import os
import pickle
import shlex
import subprocess
import sys
import zipfile
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, load_model, save_file, save_model
from torch import Tensor, nn
from typer.testing import CliRunner, Result

import laconic
from laconic.cli import app
from laconic.codecs.network.loading import LeftOut
from laconic.errors import InputError
from laconic.weights import convert, plain


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


@pytest.mark.slow
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
    assert "a tensor named '__metadata__'" in result.stderr
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


def write_shards(folder: Path, count: int = 3) -> dict[str, Tensor]:
    """A sharded network with its index, as Hugging Face's tools write it."""
    torch.manual_seed(0)
    folder.mkdir()
    tensors = {f"layers.{index}.weight": torch.randn(30, 20) for index in range(2 * count)}
    places = {}
    for shard in range(count):
        name = f"model-{shard + 1:05}-of-{count:05}.safetensors"
        part = {key: tensors[key] for key in list(tensors)[2 * shard : 2 * shard + 2]}
        save_file(part, folder / name, metadata={"format": "pt"})
        places |= dict.fromkeys(part, name)
    write_index(folder, places)
    return tensors


def write_index(folder: Path, places: dict[str, str]) -> None:
    index = {"metadata": {"total_size": 1}, "weight_map": places}
    (folder / "model.safetensors.index.json").write_text(json.dumps(index))


def read_index(folder: Path) -> dict[str, str]:
    places: dict[str, str] = json.loads((folder / "model.safetensors.index.json").read_text())[
        "weight_map"
    ]
    return places


@pytest.mark.parametrize("given", ["model", "model/model.safetensors.index.json"])
def test_line_22_sharded_networks_become_one_file(tmp_path: Path, given: str) -> None:
    tensors = write_shards(tmp_path / "model")
    result = run("shrink", tmp_path / given, "--lossless")
    assert result.exit_code == 0, result.stderr
    assert "of the 3" in result.stdout
    assert "one safetensors file" in result.stdout
    packed = (tmp_path / given).with_name("model.lac")
    assert run("expand", packed, "-o", tmp_path / "back.safetensors").exit_code == 0
    save_file(tensors, tmp_path / "whole.safetensors", metadata={"format": "pt"})
    expected = (tmp_path / "whole.safetensors").read_bytes()
    assert (tmp_path / "back.safetensors").read_bytes() == expected


def test_line_22_a_folder_without_an_index_is_taken_whole(tmp_path: Path) -> None:
    tensors = write_shards(tmp_path / "model")
    (tmp_path / "model" / "model.safetensors.index.json").unlink()
    (tmp_path / "model" / "config.json").write_text("{}")
    (tmp_path / "model" / "._model.safetensors").write_bytes(b"of the system")
    back = laconic.expand(laconic.shrink(tmp_path / "model", lossless=True))
    assert back.keys() == tensors.keys()
    assert all(torch.equal(back[name], tensors[name]) for name in tensors)


def test_line_22_json_says_how_many_files(tmp_path: Path) -> None:
    write_shards(tmp_path / "model")
    found = json.loads(run("shrink", tmp_path / "model", "--json").stdout)
    sizes = [file.stat().st_size for file in (tmp_path / "model").glob("*.safetensors")]
    assert (found["input_files"], found["input_bytes"]) == (3, sum(sizes))


def test_line_22_a_shard_is_never_replaced(tmp_path: Path) -> None:
    write_shards(tmp_path / "model")
    shard = tmp_path / "model" / "model-00002-of-00003.safetensors"
    before = shard.read_bytes()
    for given in ("model", "model/model.safetensors.index.json"):
        result = run("shrink", tmp_path / given, "-o", shard, "--force")
        assert result.exit_code == 1
        assert "would be replaced" in result.stderr
    assert shard.read_bytes() == before


@pytest.mark.parametrize("indexed", [True, False])
def test_line_22_missing_shards_are_refused(tmp_path: Path, indexed: bool) -> None:
    write_shards(tmp_path / "model")
    (tmp_path / "model" / "model-00002-of-00003.safetensors").unlink()
    if not indexed:
        (tmp_path / "model" / "model.safetensors.index.json").unlink()
    with pytest.raises(InputError, match="1 of 3 shards are missing, model-00002-of-00003"):
        laconic.shrink(tmp_path / "model")


@pytest.mark.parametrize("indexed", [True, False])
def test_line_22_a_tensor_in_two_files_is_refused(tmp_path: Path, indexed: bool) -> None:
    folder = tmp_path / "model"
    tensors = write_shards(folder)
    save_file(
        {name: tensors[name] for name in ("layers.2.weight", "layers.4.weight")},
        folder / "model-00002-of-00003.safetensors",
    )
    if not indexed:
        (folder / "model.safetensors.index.json").unlink()
    with pytest.raises(InputError, match=r"00002-of-00003.* and .*00003-of-00003.*layers\.4"):
        laconic.shrink(folder)


def test_line_22_tensors_that_no_shard_has_are_named(tmp_path: Path) -> None:
    folder = tmp_path / "model"
    write_shards(folder)
    write_index(folder, read_index(folder) | {"lost": "model-00001-of-00003.safetensors"})
    with pytest.raises(InputError, match=r"lack, lost \(model-00001"):
        laconic.shrink(folder)


def test_line_22_what_an_index_does_not_list_is_said(tmp_path: Path) -> None:
    folder = tmp_path / "model"
    tensors = write_shards(folder)
    places = read_index(folder)
    del places["layers.0.weight"]
    write_index(folder, places)
    with pytest.warns(UserWarning, match=r"does not list layers\.0\.weight: kept"):
        assert laconic.expand(laconic.shrink(folder)).keys() == tensors.keys()
    write_shards(tmp_path / "other")
    save_file({"other": torch.ones(3)}, tmp_path / "other" / "consolidated.safetensors")
    result = run("shrink", tmp_path / "other")
    assert result.exit_code == 0
    assert "laconic: warning" in result.stderr
    assert "consolidated.safetensors, which is left out" in result.stderr


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ('{"weight_map": {"a": "../../secret.safetensors"}}', "outside its folder"),
        ('{"weight_map": {"a": "pytorch_model.bin"}}', "safe_serialization"),
        ('{"weight_map": {"a": "x.safetensors", "a": "y.safetensors"}}', "lists a twice"),
        ('{"weight_map": {}}', "weight_map does not name files"),
        ('{"weight_map": [1]}', "weight_map does not name files"),
        ('{"weight_map"', "not an index of shards"),
        ("[" * 100_000, "not an index of shards"),
        ("[]", "weight_map does not name files"),
    ],
)
def test_line_22_damaged_indexes_are_refused(tmp_path: Path, text: str, said: str) -> None:
    (tmp_path / "model.safetensors.index.json").write_text(text)
    result = run("shrink", tmp_path / "model.safetensors.index.json")
    assert result.exit_code == 1
    assert said in result.stderr
    assert result.stderr.count("\n") == 1


@pytest.mark.parametrize(
    ("files", "said"),
    [
        ([], "it has no files"),
        (["pytorch_model.bin", "config.json"], "it has config.json, pytorch_model.bin"),
        (["unet/model.safetensors", "vae/model.safetensors"], "in its folders unet, vae"),
        (
            ["m.safetensors.index.json", "m.safetensors.index.fp16.json"],
            "several indexes, m.safetensors.index.fp16.json, m.safetensors.index.json",
        ),
    ],
)
def test_line_22_folders_without_weights_say_what_they_have(
    tmp_path: Path, files: list[str], said: str
) -> None:
    for name in files:
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_bytes(b"")
    with pytest.raises(InputError) as caught:
        laconic.shrink(tmp_path)
    assert said in str(caught.value)


def foreign(folder: Path, kind: str) -> Path:
    """A file of a kind that is no safetensors file."""
    path, state = folder / f"net.{kind}", {"w": torch.arange(6.0).reshape(2, 3)}
    heads = {
        "gguf": b"GGUF\3\0\0\0", "h5": b"\x89HDF\r\n\x1a\n", "onnx": b"\x08\x08\x12\x07pytorch",
        "pkl": pickle.dumps(7), "html": b"<!DOCTYPE html><html>", "gz": b"\x1f\x8b\x08\0",
        "bin": b"version https://git-lfs.github.com/spec/v1\noid sha256:", "png": b"\x89PNG\r\n",
        "empty": b"", "lac": laconic.shrink(state), "tflite": b"\x1c\0\0\0TFL3", "msgpack": b"\x81",
        "cut": b"PK\3\4", "txt": b"no weights", "safetensors": b"\x50" + bytes(7) + b"{",
    }  # fmt: skip
    if kind == "pt":
        torch.save(state, path)
    elif kind == "ckpt":
        torch.save({"state_dict": state, "step": 7}, path)
    elif kind == "pth":
        torch.save(state, path, _use_new_zipfile_serialization=False)
    elif kind == "npz":
        np.savez(path, w=state["w"].numpy())
    elif kind == "npy":
        np.save(path, state["w"].numpy())
    elif kind in ("zip", "keras", "jit", "pt2"):
        inside = {
            "zip": "a.txt", "keras": "model.weights.h5", "jit": "net/code/a.py",
            "pt2": "net/models/model.json",
        }  # fmt: skip
        with zipfile.ZipFile(path, "w") as archive:
            archive.writestr(inside[kind], "x")
    else:
        path.write_bytes(heads[kind])
    return path


@pytest.mark.parametrize(
    ("kind", "said"),
    [
        ("pt", "PyTorch checkpoint (laconic never opens a pickle"),
        ("pth", "PyTorch checkpoint (laconic never opens a pickle"),
        ("pkl", "laconic never opens a pickle"),
        ("jit", "TorchScript"),
        ("pt2", "exported program"),
        ("npz", "archive of NumPy arrays"),
        ("npy", "one NumPy array"),
        ("zip", "zip archive: unpack"),
        ("cut", "zip archive that is cut short or damaged"),
        ("gguf", "llama.cpp"),
        ("onnx", "ONNX"),
        ("h5", "Keras"),
        ("keras", "Keras"),
        ("lac", "already a .lac file"),
        ("tflite", "TensorFlow"),
        ("msgpack", "Flax"),
        ("html", "web page"),
        ("gz", "compressed: unpack"),
        ("bin", "git lfs pull"),
        ("png", "laconic compress"),
        ("empty", "is empty"),
        ("txt", "of another kind, or damaged"),
        ("safetensors", "of another kind, or damaged"),
        ("json", "No such file"),
    ],
)
def test_line_22_other_files_are_recognised(tmp_path: Path, kind: str, said: str) -> None:
    path = tmp_path / "net.json" if kind == "json" else foreign(tmp_path, kind)
    result = run("shrink", path, "-o", tmp_path / "out.lac")
    assert result.exit_code == 1
    assert said in result.stderr
    assert str(path) in result.stderr
    assert result.stderr.count("\n") == 1
    assert not (tmp_path / "out.lac").exists()


@pytest.mark.parametrize("kind", ["pt", "pth", "ckpt", "npz", "npy"])
def test_line_22_the_conversion_that_is_proposed_works(
    tmp_path: Path, kind: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    with pytest.raises(InputError) as caught:
        laconic.shrink(foreign(tmp_path, kind))
    _, command, _ = str(caught.value).split("\n")
    words = shlex.split(command)
    assert words[:2] == ["python", "-c"]
    monkeypatch.setattr(sys, "argv", words[2:])
    exec(words[2], {})
    (tensor,) = laconic.expand(laconic.shrink(tmp_path / "net.safetensors")).values()
    assert torch.equal(tensor, torch.arange(6.0).reshape(2, 3))


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


class Wrapper(nn.Module):
    """Names its network as wrappers of torch do."""

    def __init__(self, name: str, net: nn.Module) -> None:
        super().__init__()
        self.add_module(name, net)


def small(seed: int = 0) -> nn.Sequential:
    torch.manual_seed(seed)
    return nn.Sequential(nn.Linear(8, 8), nn.BatchNorm1d(8), nn.Linear(8, 3))


def same(first: nn.Module, second: nn.Module) -> bool:
    pairs = zip(first.state_dict().values(), second.state_dict().values(), strict=True)
    return all(torch.equal(a, b) for a, b in pairs)


WRAPPED = {
    "none": lambda net: net,
    "parallel": nn.DataParallel,
    "compiled": lambda net: Wrapper("_orig_mod", net),
    "compiled, then parallel": lambda net: Wrapper("module", Wrapper("_orig_mod", net)),
    "parallel, then compiled": lambda net: Wrapper("_orig_mod", Wrapper("module", net)),
}


@pytest.mark.parametrize("there", WRAPPED)
@pytest.mark.parametrize("here", WRAPPED)
def test_missed_wrappers_of_file_and_network_may_differ(here: str, there: str) -> None:
    data = laconic.shrink(WRAPPED[there](small()), lossless=True)
    net = small(1)
    laconic.expand(data, into=WRAPPED[here](net))
    assert same(net, small())


def test_missed_a_compiled_part_is_found() -> None:
    whole, parts = small(), small(1)
    parts[2] = Wrapper("_orig_mod", parts[2])
    laconic.expand(laconic.shrink(whole, lossless=True), into=parts)
    assert torch.equal(parts[2]._orig_mod.weight, whole[2].weight)
    back = small(2)
    laconic.expand(laconic.shrink(parts, lossless=True), into=back)
    assert same(back, whole)


def test_missed_names_that_would_meet_without_their_wrapper_are_kept_apart() -> None:
    net = nn.ModuleDict({"module": nn.Linear(2, 2), "other": nn.Linear(2, 2)})
    data = laconic.shrink(net.state_dict() | {"weight": torch.ones(2, 2)})
    with pytest.raises(InputError, match="the network lacks: weight; strict=False"):
        laconic.expand(data, into=net)
    data = laconic.shrink({"x": torch.zeros(2), "module.x": torch.ones(2)})
    holder = nn.Module()
    holder.register_buffer("x", torch.full((2,), 7.0))
    with pytest.warns(LeftOut, match=r"the network lacks: module\.x"):
        laconic.expand(data, into=holder, strict=False)
    assert torch.equal(holder.x, torch.zeros(2))


def test_missed_strict_false_loads_what_both_have() -> None:
    whole = small()
    data = laconic.shrink(whole, lossless=True)
    other = nn.Sequential(nn.Linear(8, 8), nn.ReLU(), nn.Linear(8, 3), nn.Linear(3, 2))
    before = other[3].weight.clone()
    with pytest.raises(InputError, match="strict=False loads what both have"):
        laconic.expand(data, into=other)
    with pytest.warns(LeftOut) as caught:
        laconic.expand(data, into=other, strict=False)
    assert "the file lacks: 3.weight, 3.bias" in str(caught[0].message)
    assert "the network lacks: " in str(caught[0].message)
    assert torch.equal(other[2].weight, whole[2].weight)
    assert torch.equal(other[3].weight, before)


def test_missed_strict_false_still_refuses_shapes_strangers_and_no_network() -> None:
    data = laconic.shrink(small(), lossless=True)
    other = nn.Sequential(nn.Linear(8, 9))
    before = other[0].weight.clone()
    with pytest.raises(InputError, match=r"of other shapes: 0\.weight \(8, 8\) for \(9, 8\)"):
        laconic.expand(data, into=other, strict=False)
    assert torch.equal(other[0].weight, before)
    with pytest.raises(InputError, match="another network"):
        laconic.expand(data, into=nn.ModuleDict({"a": nn.Linear(8, 8)}), strict=False)
    with pytest.raises(InputError, match="give one with into"):
        laconic.expand(data, strict=False)


def test_missed_aliases_of_save_model_are_loaded(tmp_path: Path) -> None:
    net = tied()
    save_model(net, str(tmp_path / "net.safetensors"), metadata={"format": "pt"})
    assert run("shrink", tmp_path / "net.safetensors", "--lossless").exit_code == 0
    untied = nn.ModuleDict(
        {"embed": nn.Embedding(40, 20), "body": nn.Linear(20, 20), "head": nn.Linear(20, 40)}
    )
    back = tied()
    nn.init.zeros_(back["embed"].weight)
    for other in (untied, back, nn.DataParallel(untied)):
        laconic.expand(tmp_path / "net.lac", into=other)
    assert same(untied, net)
    assert same(back, net)
    assert back["head"].weight is back["embed"].weight
    assert run("expand", tmp_path / "net.lac", "-o", tmp_path / "back.safetensors").exit_code == 0
    nn.init.zeros_(back["embed"].weight)
    load_model(back, str(tmp_path / "back.safetensors"))
    assert same(back, net)


def test_missed_a_tied_tensor_needs_to_be_there_once_and_not_differ() -> None:
    net, state = tied(), tied().state_dict()
    nn.init.zeros_(net["embed"].weight)
    once = {name: tensor for name, tensor in state.items() if name != "head.weight"}
    laconic.expand(laconic.shrink(once, lossless=True), into=net)
    assert torch.equal(net["head"].weight, state["embed.weight"])
    twice = {**state, "head.weight": torch.zeros(40, 20)}
    before = net["embed"].weight.clone()
    with pytest.raises(InputError, match=r"two different tensors in the file"):
        laconic.expand(laconic.shrink(twice, lossless=True), into=net)
    assert torch.equal(net["embed"].weight, before)


def rounded() -> nn.Sequential:
    """Converted by rq, with roundings of inputs."""
    net = small().eval()
    convert(net, "rq", weight_bits=4, activation_bits=4, input_bits=8, skip=("1",))
    net.train()(torch.randn(64, 8))
    return net.eval()


@pytest.mark.filterwarnings("ignore:left as they are")
def test_missed_names_of_an_rq_file_load_into_the_original_network(tmp_path: Path) -> None:
    net, finished, x = rounded(), small(1), torch.randn(5, 8)
    (tmp_path / "net.lac").write_bytes(laconic.shrink(net))
    assert run("expand", tmp_path / "net.lac").exit_code == 0
    stored = load_file(tmp_path / "net.safetensors")
    missing, unexpected = finished.load_state_dict(stored, strict=False)
    assert not missing
    assert all(".rounding." in name for name in unexpected)
    assert torch.equal(finished[2].weight, plain(net)[2].layer.weight)
    laconic.expand(tmp_path / "net.lac", into=finished)
    assert torch.equal(finished.eval()(x), net(x))
    wrapped = small(2)
    laconic.expand(tmp_path / "net.lac", into=nn.DataParallel(wrapped))
    assert torch.equal(wrapped.eval()(x), net(x))


@pytest.mark.filterwarnings("ignore:left as they are")
def test_missed_rq_files_with_the_former_names_are_still_loaded() -> None:
    net, back, x = rounded(), small(1), torch.randn(5, 8)
    former = laconic.shrink(plain(net).state_dict(), lossless=True)
    assert "2.layer.weight" in laconic.expand(former)
    laconic.expand(former, into=back)
    assert torch.equal(back.eval()(x), net(x))
    again = plain(net)
    laconic.expand(laconic.shrink(net), into=again)
    assert torch.equal(again(x), net(x))
    names = laconic.expand(laconic.shrink(net)).keys()
    assert laconic.expand(laconic.shrink(net, lossless=True)).keys() == names
    assert laconic.expand(laconic.shrink(plain(net))).keys() == again.state_dict().keys()
