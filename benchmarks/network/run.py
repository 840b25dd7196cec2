"""The network codec beside NNCodec's coder: the same integers, bytes and seconds of each.

    python benchmarks/network/run.py --deepcabac .../nncodec/extensions/deepCABAC*.so

NNCodec (`pip install --no-deps nncodec`) wants other versions of half of our packages; its compiled
coder alone is loaded from the environment that it lives in. Without it, ours is measured alone.
LeNet-300-100 is trained first, on MNIST.
"""

import argparse
import gzip
import importlib.util
import json
import lzma
import os
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

import laconic
from laconic.codecs.network import NetworkFile
from laconic.coding import quantised
from laconic.coding.stream import QueueDecoder, QueueEncoder
from laconic.evaluation.provenance import describe_run
from laconic.pretrained import load

HERE = Path(__file__).parent
REPOSITORY = HERE.parents[1]
TOLERANCES = (0.2, 0.05, 0.01)
REPEATS, SEED = 3, 0


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


def timed(work: Callable[[], Any]) -> tuple[Any, float]:
    """What it returns, and the least seconds of `REPEATS`."""
    seconds = []
    for _ in range(REPEATS):
        start = time.perf_counter()
        result = work()
        seconds.append(time.perf_counter() - start)
    return result, min(seconds)


def encode(matrices: list[np.ndarray]) -> list[bytes]:
    """One stream per matrix, under contexts that all share."""
    contexts, streams = quantised.Contexts(), []
    for q in matrices:
        stream = QueueEncoder()
        quantised.write(stream, q.reshape(q.shape[0], -1), contexts)
        streams.append(stream.finish())
    return streams


def decode(streams: list[bytes], matrices: list[np.ndarray]) -> None:
    """Read them back and compare."""
    contexts = quantised.Contexts()
    for data, q in zip(streams, matrices, strict=True):
        flat = q.reshape(q.shape[0], -1)
        back = quantised.read(QueueDecoder(data), (flat.shape[0], flat.shape[1]), contexts)
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
    """One row for each of `TOLERANCES`."""
    rows = []
    large = [w.double().numpy() for w in tensors.values() if w.ndim > 1 and w.numel() >= 256]
    for tolerance in TOLERANCES:
        matrices = []
        for w in large:
            step = tolerance * float(np.sqrt(12 * (w**2).mean()))
            matrices.append(quantised.quantise(w.reshape(w.shape[0], -1), step).reshape(w.shape))
        streams, seconds = timed(lambda m=matrices: encode(m))
        _, back = timed(lambda s=streams, m=matrices: decode(s, m))
        count = sum(q.size for q in matrices)
        row = {
            "network": name,
            "numbers": count,
            "step_over_rms": round(tolerance * 12**0.5, 4),
            "bytes": sum(map(len, streams)),
            "bits_per_number": 8 * sum(map(len, streams)) / count,
            "encode_seconds": seconds,
            "decode_seconds": back,
        }
        if module is not None:
            theirs, their_seconds = timed(lambda m=matrices: cabac(module, m))
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


def main() -> None:
    """Measure, and write results.json."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--deepcabac", type=Path)
    parser.add_argument("--data", type=Path, default=REPOSITORY.parent / "shared" / "data")
    options = parser.parse_args()
    started, module = time.time(), load_cabac(options.deepcabac)
    root = Path(os.environ.get("LACONIC_DATA", options.data)) / "mnist"
    net, wrong = lenet(root)
    lenet_tensors = dict(net.state_dict())
    image_model = {name: w.half() for name, w in load().model.state_dict().items()}
    networks = {
        "LeNet-300-100, trained on MNIST": lenet_tensors,
        "ResNet-18's shapes, initialised": resnet_sized(),
        "the embedded image model": image_model,
    }
    rows = [row for name, tensors in networks.items() for row in compare(name, tensors, module)]
    kept = [lossless(name, tensors) for name, tensors in networks.items()]
    files = []
    for tolerance in (0.05, 0.2, 0.4):
        data = laconic.shrink(lenet_tensors, tolerance=tolerance)
        net.load_state_dict(laconic.expand(data))
        file = NetworkFile.open(data)
        files.append({
            "tolerance": tolerance,
            "bytes": len(data),
            "times_smaller_than_float32": 4 * file.numbers / len(data),
            "error": error(net, root),
        })  # fmt: skip
    command = "python " + " ".join(
        [Path(sys.argv[0]).as_posix(), *(["--deepcabac ..."] if module else [])]
    )
    results = {
        "run": describe_run(command, started, REPOSITORY, seed=SEED, nncodec="2.1.3"),
        "same_integers": rows,
        "lossless": kept,
        "lenet_300_100": {"error": wrong, "files": files},
    }
    (HERE / "results.json").write_text(json.dumps(results, indent=2) + "\n")


if __name__ == "__main__":
    main()
