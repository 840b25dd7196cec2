"""Checkpoints: safetensors files, written atomically, resumed exactly; nothing is unpickled."""

import json
import os
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor

from laconic.errors import ConfigError

SLOTS = ("exp_avg", "exp_avg_sq", "step")
"""The tensors of Adam's state for each parameter."""

AVERAGE = "average."
"""Prefix of the names of averaged weights."""


def pack_optimizer(optimizer: torch.optim.Optimizer) -> dict[str, Tensor]:
    """Adam's moments as named tensors."""
    state = optimizer.state_dict()["state"]
    return {
        f"optimizer.{index}.{slot}": torch.as_tensor(slots[slot])
        for index, slots in state.items()
        for slot in SLOTS
    }


def unpack_optimizer(optimizer: torch.optim.Optimizer, tensors: dict[str, Tensor]) -> None:
    """Restore Adam's moments in the memory layout of their parameters.

    The layout matters: fused Adam reads parameters and moments in memory order, and would pair the
    wrong elements of a channels_last parameter and contiguous moments.
    """
    parameters = [p for group in optimizer.param_groups for p in group["params"]]
    state = optimizer.state_dict()
    indices = {int(name.split(".")[1]) for name in tensors if name.startswith("optimizer.")}
    for index in indices:
        slots = {slot: tensors[f"optimizer.{index}.{slot}"] for slot in SLOTS}
        like = parameters[index].detach()
        state["state"][index] = {
            slot: value if value.dim() == 0 else torch.empty_like(like).copy_(value)
            for slot, value in slots.items()
        }
    optimizer.load_state_dict(state)


def save(path: Path, tensors: dict[str, Tensor], meta: dict[str, Any]) -> None:
    """Write tensors and JSON-able `meta` to `path` in one atomic step."""
    path.parent.mkdir(parents=True, exist_ok=True)
    part = path.with_name(f".{path.name}.part{os.getpid()}")
    contiguous = {name: tensor.detach().cpu().contiguous() for name, tensor in tensors.items()}
    try:
        save_file(contiguous, part, metadata={"meta": json.dumps(meta, sort_keys=True)})
        os.replace(part, path)
    finally:
        part.unlink(missing_ok=True)


def load(path: Path, tensors: bool = True) -> tuple[dict[str, Tensor], dict[str, Any]]:
    """Read what `save` wrote.

    Args:
        path: path of the checkpoint.
        tensors: whether to read the tensors, too, and not only `meta`.

    Raises:
        ConfigError: the file is missing, damaged, or not a checkpoint of Laconic.
    """
    try:
        with safe_open(path, framework="pt") as file:
            names = list(file.keys()) if tensors else []
            found = {name: file.get_tensor(name) for name in names}
            meta = json.loads((file.metadata() or {})["meta"])
    except (OSError, SafetensorError, KeyError, json.JSONDecodeError) as error:
        raise ConfigError(
            f"{path}: not a readable checkpoint ({error}); delete it to start a new run"
        ) from error
    return found, meta


def load_average(path: Path) -> tuple[dict[str, Tensor], dict[str, Any]]:
    """The averaged weights of a training run by name, and the `meta` of its checkpoint.

    Raises:
        ConfigError: the file is missing, damaged, or not a checkpoint of Laconic.
    """
    tensors, meta = load(path)
    named = {k.removeprefix(AVERAGE): v for k, v in tensors.items() if k.startswith(AVERAGE)}
    return named, meta
