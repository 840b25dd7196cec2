"""The network codec beside NNCodec: bytes and seconds of each, for equal weights.

    python benchmarks/network/run.py --deepcabac .../nncodec/extensions/deepCABAC*.so
        --nncodec .../bin/python --weights "name=plain.safetensors"

NNCodec (`pip install nncodec`) wants other versions of half of our packages, so that it has an
environment of its own. Its coder, one compiled module, is loaded from there and given the same
integers as ours (`same_integers`; `pip install --no-deps nncodec` is enough). The tool as a whole
runs under that environment's interpreter by `whole_tool.py`: it encodes and decodes a network,
and ours then stores just the weights that it decoded (`whole_tool`). Without either, ours is
measured alone. LeNet-300-100 is trained first, on MNIST; further networks are files.
"""

import argparse
import gzip
import importlib.util
import json
import lzma
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

import laconic
from laconic.codecs.network.codec import named
from laconic.codecs.network.codec import shrink as shrink_network
from laconic.codecs.network.file import NetworkFile
from laconic.codecs.network.manifest import Entry, Method
from laconic.coding.queue.stream import QueueDecoder, QueueEncoder
from laconic.coding.tensors import quantised
from laconic.data.datasets import data_root
from laconic.evaluation.report.provenance import describe_run

HERE = Path(__file__).parent
REPOSITORY = HERE.parents[1]
TOLERANCES = (0.2, 0.05, 0.01)
REPEATS, SEED = 3, 0
SETTINGS: dict[str, dict[str, Any]] = {
    "its defaults": {},
    "uniform, qp -32": {"use_dq": False, "qp": -32},
    "uniform, qp -24": {"use_dq": False, "qp": -24},
}
"""NNCodec's settings; its defaults are qp -32 and a trellis (dependent quantisation)."""


def digits(root: Path, part: str) -> tuple[Tensor, Tensor]:
    """Images in [0, 1], flat, and labels of MNIST's `train` or `t10k` part."""
    arrays = []
    for kind, skip in (("images-idx3", 16), ("labels-idx1", 8)):
        (path,) = root.rglob(f"{part}-{kind}-ubyte.gz")
        with gzip.open(path) as file:
            arrays.append(np.frombuffer(file.read(), np.uint8, offset=skip))
    images = torch.from_numpy(arrays[0].copy()).float().reshape(-1, 784) / 255
    return images, torch.from_numpy(arrays[1].copy()).long()


def lenet(root: Path) -> tuple[nn.Module, float]:
    """LeNet-300-100 after ten passes over MNIST, and its error on the test part."""
    torch.manual_seed(SEED)
    layers = [nn.Linear(784, 300), nn.ReLU(), nn.Linear(300, 100), nn.ReLU(), nn.Linear(100, 10)]
    net, epochs = nn.Sequential(*layers), 10
    images, labels = digits(root, "train")
    optimizer = torch.optim.Adam(net.parameters(), 1e-3, weight_decay=1e-5)
    for epoch in range(epochs):
        for group in optimizer.param_groups:
            group["lr"] = 1e-3 * (1 - epoch / epochs)
        for batch in torch.randperm(len(images)).split(128):
            optimizer.zero_grad()
            nn.functional.cross_entropy(net(images[batch]), labels[batch]).backward()
            optimizer.step()
    return net, error(net, root)


def error(net: nn.Module, root: Path) -> float:
    """Share of wrong answers on MNIST's test part."""
    images, labels = digits(root, "t10k")
    with torch.inference_mode():
        return float((net(images).argmax(1) != labels).double().mean())


def resnet_sized() -> dict[str, Tensor]:
    """Tensors of the shapes of ResNet-18 with 10 classes, as they are initialised."""
    torch.manual_seed(SEED)
    shapes, width = [(64, 3, 7, 7)], 64
    for stage in range(4):
        out = 64 << stage
        for block in range(2):
            first = width if block == 0 else out
            shapes += [(out, first, 3, 3), (out, out, 3, 3)]
            if block == 0 and first != out:
                shapes.append((out, first, 1, 1))
        width = out
    tensors = {}
    for index, shape in enumerate([*shapes, (10, 512)]):
        tensors[f"{index}.weight"] = nn.init.kaiming_normal_(torch.empty(shape))
    return tensors


def sparse(density: float) -> dict[str, Tensor]:
    """LeNet-300-100's shapes with so many weights that are not 0, in 16 values, all alike."""
    generator, tensors = np.random.default_rng(SEED), {}
    for index, shape in enumerate(((300, 784), (100, 300), (10, 100))):
        q = generator.choice([*range(-8, 0), *range(1, 9)], size=shape)
        q[generator.random(shape) > density] = 0
        tensors[f"{index}.weight"] = torch.from_numpy(q)
    return tensors


def gigabyte() -> list[dict[str, Any]]:
    """Peak memory of shrinking and expanding a file of 2^30 bytes, each in its own process."""
    torch.manual_seed(SEED)
    rows = []
    with tempfile.TemporaryDirectory() as name:
        plain, packed = Path(name, "big.safetensors"), Path(name, "big.lac")
        layers = range(16)
        save_file({f"{i}.weight": torch.randn(4096, 4096) / 64 for i in layers}, plain)
        tool = [sys.executable, "-c", "from laconic.cli import main; main()"]
        for arguments in (["shrink", plain, "-o", packed, "--tolerance", "0.05"],
                          ["expand", packed, "-o", Path(name, "back.safetensors")]):  # fmt: skip
            start = time.perf_counter()
            script = (
                "import resource, subprocess, sys; subprocess.run(sys.argv[1:], check=True, "
                "stdout=subprocess.DEVNULL); "
                "print(resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss)"
            )
            command = [sys.executable, "-c", script, *tool, *map(str, arguments)]
            done = subprocess.run(command, capture_output=True, text=True, check=True)
            rows.append({
                "command": str(arguments[0]),
                "plain_bytes": plain.stat().st_size,
                "packed_bytes": packed.stat().st_size,
                "peak_gib": int(done.stdout) / 2**20,
                "seconds": time.perf_counter() - start,
            })  # fmt: skip
    return rows


def timed(work: Callable[[], Any]) -> tuple[Any, float]:
    """What it returns, and the least seconds of `REPEATS`."""
    return timed_together([work], REPEATS)[0]


def timed_together(works: list[Callable[[], Any]], repeats: int) -> list[tuple[Any, float]]:
    """What each returns, and its least seconds; in turn, so that a busy machine harms all alike."""
    results, seconds = [None] * len(works), [float("inf")] * len(works)
    for _ in range(repeats):
        for index, work in enumerate(works):
            start = time.perf_counter()
            results[index] = work()
            seconds[index] = min(seconds[index], time.perf_counter() - start)
    return list(zip(results, seconds, strict=True))


Kernel = tuple[int, int]


def encode(matrices: list[np.ndarray]) -> list[tuple[bytes, Kernel | None]]:
    """One stream per matrix, under contexts that all share, and kernels with signs predicted."""
    contexts, streams = quantised.Contexts(), []
    for q in matrices:
        stream, flat = QueueEncoder(), q.reshape(q.shape[0], -1)
        kernel = Entry("", "F32", q.shape, Method.QUANTISED).kernel
        predicted = kernel if quantised.signs_are_predictable(flat, kernel) else None
        quantised.write(stream, flat, contexts, predicted)
        streams.append((stream.finish(), predicted))
    return streams


def decode(streams: list[tuple[bytes, Kernel | None]], matrices: list[np.ndarray]) -> None:
    """Read them back and compare."""
    contexts = quantised.Contexts()
    for (data, kernel), q in zip(streams, matrices, strict=True):
        flat = q.reshape(q.shape[0], -1)
        back = quantised.read(QueueDecoder(data), (flat.shape[0], flat.shape[1]), contexts, kernel)
        assert np.array_equal(back, flat)


def cabac(module: Any, matrices: list[np.ndarray]) -> int:
    """Bytes that NNCodec's coder takes, its parameters optimised as its default does."""
    encoder = module.Encoder()
    off = module.HdspMode.AlwaysOff, np.zeros(2, np.int8)
    for q in matrices:
        encoder.initCtxModels(11, 1)
        rows = np.zeros(q.shape[0], np.int32)
        encoder.encodeLayer(np.ascontiguousarray(q, np.int32), 0, 0, 0, 0, 0, rows, *off, 0, 0)
    return int(np.asarray(encoder.finish()).nbytes)


def compare(name: str, tensors: dict[str, Tensor], module: Any) -> list[dict[str, Any]]:
    """One row for each of `TOLERANCES`; one for tensors of integers, which stay as they are."""
    rows = []
    large = [w.numpy() for w in tensors.values() if w.ndim > 1 and w.numel() >= 256]
    whole = large[0].dtype == np.int64
    for tolerance in (0.0,) if whole else TOLERANCES:
        matrices = large if whole else []
        for w in [] if whole else large:
            values = w.astype(np.float64).reshape(w.shape[0], -1)
            step = tolerance * float(np.sqrt(12 * (values**2).mean()))
            matrices.append(quantised.quantise(values, step).reshape(w.shape))
        count = sum(q.size for q in matrices)
        streams = encode(matrices)
        size = sum(len(data) for data, _ in streams)
        works = [lambda m=matrices: encode(m), lambda s=streams, m=matrices: decode(s, m)]
        works += [lambda m=matrices: cabac(module, m)] * (module is not None)
        repeats = REPEATS if count > 10**6 else 20 * REPEATS
        (_, seconds), (_, back), *cabacs = timed_together(works, repeats)
        row = {
            "network": name,
            "numbers": count,
            "step_over_rms": None if whole else round(tolerance * 12**0.5, 4),
            "bytes": size,
            "bits_per_number": 8 * size / count,
            "encode_seconds": seconds,
            "decode_seconds": back,
        }
        for theirs, their_seconds in cabacs:
            row |= {
                "nncodec_bytes": theirs,
                "nncodec_encode_seconds": their_seconds,
                "bytes_ratio": row["bytes"] / theirs,
                "speed_ratio": their_seconds / seconds,
            }
        print(json.dumps(row), flush=True)
        rows.append(row)
    return rows


def lossless(name: str, tensors: dict[str, Tensor]) -> dict[str, Any]:
    """Every bit kept, beside general compressors."""
    raw = b"".join(w.contiguous().reshape(-1).view(torch.uint8).numpy().tobytes()
                   for w in tensors.values() if w.numel())  # fmt: skip
    data, seconds = timed(lambda: laconic.shrink(tensors, lossless=True))
    _, back = timed(lambda: laconic.expand(data))
    return {
        "network": name,
        "raw_bytes": len(raw),
        "bytes": len(data),
        "lzma_bytes": len(lzma.compress(raw, preset=6)),
        "gzip_bytes": len(gzip.compress(raw, 9)),
        "encode_seconds": seconds,
        "decode_seconds": back,
    }


def whole_tool(name: str, tensors: dict[str, Tensor], python: Path) -> list[dict[str, Any]]:
    """One row for each of `SETTINGS`: NNCodec from end to end, then ours on what it decoded."""
    rows = []
    plain = {key: w.float().numpy() for key, w in tensors.items() if w.is_floating_point()}
    for setting, arguments in SETTINGS.items():
        with tempfile.TemporaryDirectory() as folder:
            before, after = Path(folder, "plain.npz"), Path(folder, "decoded.npz")
            np.savez(before, **plain)
            script = [python, HERE / "whole_tool.py", before, after, json.dumps(arguments)]
            done = subprocess.run(script, capture_output=True, text=True, check=True)
            theirs, decoded = json.loads(done.stdout.splitlines()[-1]), dict(np.load(after))
        row = {"network": name, "setting": setting, "numbers": sum(w.size for w in plain.values())}
        row |= {f"nncodec_{key}": value for key, value in theirs.items()}
        rows.append(row | _ours(plain, decoded, row))
        print(json.dumps(rows[-1]), flush=True)
    return rows


def _ours(
    plain: dict[str, np.ndarray], decoded: dict[str, np.ndarray], row: dict[str, Any]
) -> dict[str, Any]:
    """Bytes and seconds for the very weights NNCodec decodes to, and for others of equal error."""
    tensors = {key: torch.from_numpy(w) for key, w in decoded.items()}
    steps = {key: step for key, w in decoded.items() if (step := step_of(w))}
    data, seconds = timed(lambda: shrink_network(named(tensors), {}, 0.0, steps=steps))
    back, back_seconds = timed(lambda: laconic.expand(data))
    assert all(torch.equal(back[key], w) for key, w in tensors.items())
    errors = {key: _error(decoded[key], w) for key, w in plain.items()}
    source = {key: torch.from_numpy(w) for key, w in plain.items()}
    large = {key: e for key, e in errors.items() if 0 < e < 1 and source[key].ndim > 1}
    other, other_seconds = timed(lambda: laconic.shrink(source, tolerance=large))
    return {
        "bytes": len(data),
        "encode_seconds": seconds,
        "decode_seconds": back_seconds,
        "bytes_ratio": len(data) / row["nncodec_bytes"],
        "encode_speed_ratio": row["nncodec_encode_seconds"] / seconds,
        "decode_speed_ratio": row["nncodec_decode_seconds"] / back_seconds,
        "equal_error_bytes": len(other),
        "equal_error_bytes_ratio": len(other) / row["nncodec_bytes"],
        "equal_error_encode_seconds": other_seconds,
    }


def _error(w: np.ndarray, plain: np.ndarray) -> float:
    """||w - plain|| / ||plain||."""
    size = float(np.linalg.norm(plain.astype(np.float64)))
    return float(np.linalg.norm(w.astype(np.float64) - plain)) / size if size else 0.0


def step_of(w: np.ndarray) -> float:
    """The step that all numbers are whole multiples of, or 0 where they are none."""
    gaps = np.diff(np.unique(np.abs(w.astype(np.float64))), prepend=0.0)
    if not (gaps > 0).any():
        return 0.0
    step = float(np.float32(gaps[gaps > 0].min()))
    exact = (np.rint(w / step) * step).astype(w.dtype)
    return step if np.array_equal(exact, w) else 0.0


def load_cabac(path: Path | None) -> Any:
    """NNCodec's compiled module, or None."""
    if path is None:
        return None
    spec = importlib.util.spec_from_file_location("deepCABAC", path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def _before(key: str) -> Any:
    """What results.json says already: measured by an earlier run."""
    path = HERE / "results.json"
    return json.loads(path.read_text()).get(key, []) if path.exists() else []


def _named(argument: str) -> tuple[str, Path]:
    """`NAME=PATH`; a path alone is the image model's, before packing."""
    name, _, path = argument.rpartition("=")
    return name or "the image model", Path(path)


def main() -> None:
    """Measure, and write results.json."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--deepcabac", type=Path)
    parser.add_argument("--nncodec", type=Path, help="interpreter of NNCodec's environment")
    parser.add_argument(
        "--weights", action="append", default=[], type=_named, metavar="NAME=PATH",
        help="a further network, a safetensors file; may be given several times",
    )  # fmt: skip
    parser.add_argument("--gigabyte", action="store_true", help="measure memory, too: minutes")
    parser.add_argument("--data", type=Path, default=data_root())
    options = parser.parse_args()
    started, module = time.time(), load_cabac(options.deepcabac)
    root = options.data / "mnist"
    net, wrong = lenet(root)
    lenet_tensors = dict(net.state_dict())
    networks = {
        "LeNet-300-100, trained on MNIST": lenet_tensors,
        "ResNet-18's shapes, initialised": resnet_sized(),
    }
    networks |= {name: load_file(path) for name, path in options.weights}
    thin = {
        f"LeNet-300-100's shapes, {100 * density:g} % not 0": sparse(density)
        for density in (0.25, 0.074, 0.02, 0.01)
    }
    rows = [row for name, w in {**networks, **thin}.items() for row in compare(name, w, module)]
    tool = _before("whole_tool")
    if options.nncodec is not None:
        tool = [row for name, w in networks.items() for row in whole_tool(name, w, options.nncodec)]
    kept = [lossless(name, tensors) for name, tensors in networks.items()]
    files = []
    for tolerance in (0.05, 0.2, 0.4):
        data = laconic.shrink(lenet_tensors, tolerance=tolerance)
        net.load_state_dict(laconic.expand(data))
        file = NetworkFile.read(data)
        files.append({
            "tolerance": tolerance,
            "bytes": len(data),
            "times_smaller_than_float32": 4 * file.numbers / len(data),
            "error": error(net, root),
        })  # fmt: skip
    command = f"python {Path(sys.argv[0]).as_posix()}{' --deepcabac ...' * (module is not None)}"
    command += " --nncodec ..." * (options.nncodec is not None)
    command += "".join(f' --weights "{name}=..."' for name, _ in options.weights)
    results = {
        "run": describe_run(command, started, REPOSITORY, seed=SEED, nncodec="2.1.3"),
        "same_integers": rows,
        "whole_tool": tool,
        "lossless": kept,
        "gigabyte": gigabyte() if options.gigabyte else _before("gigabyte"),
        "lenet_300_100": {"error": wrong, "files": files},
    }
    (HERE / "results.json").write_text(json.dumps(results, indent=2) + "\n")


if __name__ == "__main__":
    main()
