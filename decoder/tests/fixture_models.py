"""The models of the files in `tests/fixtures`, which no package brings."""

import json
from pathlib import Path
from typing import Any

import numpy as np
from laconic_decoder.arithmetic import unfold
from laconic_decoder.coding import Shared, normals_of
from laconic_decoder.image import Point, Sliced
from laconic_decoder.models import decode_weights, make_model

FIXTURES = Path(__file__).parents[2] / "tests" / "fixtures"


class Pyramid:
    """The model without weights of the files pyramid, as docs/format.md describes it."""

    levels = 2

    def prior(self, level: int, above: list[Any], point: Point) -> tuple[Any, Any, None]:
        size, f = (-(-point.height // 8), -(-point.width // 8)), np.float32
        if level == 0:
            return np.zeros((3, *size)), np.full((3, *size), f(0.3)), None
        contrast = np.abs(above[0].astype(f)).mean(0)
        scale = np.broadcast_to(f(0.05) + f(0.1) * contrast, (48, *size))
        return np.zeros((48, *size)), scale, None

    def picture(self, latents: list[Any], point: Point) -> Any:
        fine = unfold(latents[1], 4).repeat(2, 1).repeat(2, 2)
        return latents[0].repeat(8, 1).repeat(8, 2) + fine + 0.5


def ladder(name: str) -> Sliced:
    """The sliced ladder of the files `small` and `grown`: weights from the shared randomness."""
    record = json.loads((FIXTURES / "vectors" / f"{name}-ladder.json").read_text())
    shared, tensors = Shared(record["seed"]), dict[str, Any]()
    for index, (tensor, shape) in enumerate(record["parameters"]):
        noise = normals_of(shared.child(index).bits(int(np.prod(shape))))
        spread = 0.3 / max(int(np.prod(shape[1:])), 1) ** 0.5
        values = np.rint(np.float32(4096 * spread) * noise) / np.float32(4096)
        tensors[tensor] = values.reshape(shape)
    tensors["transform.synthesis"] = np.eye(48, dtype=np.float32).reshape(48, 3, 4, 4)
    tensors["transform.variance"] = np.exp2(np.array(record["log2_variance"], np.float32))
    return Sliced(record["config"], tensors)


def find_image_model(name: str, fingerprint: bytes) -> Any:
    return Pyramid() if name == "pyramid" else ladder(name)


CONFIGS: dict[str, dict[str, Any]] = {
    "causal": {"name": "pixels", "strides": []},
    "ladder": {"name": "pixels", "strides": [8, 4, 4, 2]},
    "both": {"name": "pixels", "strides": [4, 2]},
    "binary": {"name": "dense", "side": 8, "likelihood": "bernoulli"},
}


def load_model(kind: str, fingerprint: bytes) -> Any:
    """A model of the lossless files; its weights do not say their configuration."""
    assert fingerprint == kind.ljust(8).encode()
    file = (FIXTURES / "lossless" / "1" / f"{kind}.safetensors").read_bytes()
    size = int.from_bytes(file[:8], "little")
    header = json.loads(file[8 : 8 + size])
    header["__metadata__"] = {"meta": json.dumps({"model": CONFIGS[kind]})}
    text = json.dumps(header).encode()
    data = len(text).to_bytes(8, "little") + text + file[8 + size :]
    return make_model(*decode_weights(".safetensors", data))
