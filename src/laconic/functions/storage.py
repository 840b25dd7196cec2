"""A process as a file: tensors and settings in a safetensors file; nothing is unpickled."""

from dataclasses import asdict
from pathlib import Path
from typing import Final

from torch import nn

from laconic.errors import InputError
from laconic.functions.fnp import FNP
from laconic.functions.neural_process import NP
from laconic.training import checkpoints

FORMAT: Final = "laconic process 1"

PROCESSES: dict[str, type[FNP] | type[NP]] = {"fnp": FNP, "np": NP}
"""Processes by the name in files and recipes."""

INPUTS, TARGETS = "reference_inputs", "reference_targets"


def save(process: FNP | NP, path: str | Path) -> None:
    """Write a process: its weights, its reference set, its settings.

    Args:
        process: trained or not.
        path: of the file, which is replaced whole.
    """
    name = next(name for name, kind in PROCESSES.items() if isinstance(process, kind))
    settings = asdict(process.settings)
    if not process.reference_targets.is_floating_point():
        settings["classes"] = process.likelihood.outputs
    meta = {"format": FORMAT, "process": name, "settings": settings}
    checkpoints.save(Path(path), process.state_dict(), meta)


def load(path: str | Path, torso: nn.Module) -> FNP | NP:
    """Read a process in evaluation mode.

    Args:
        path: of a file that `save` wrote.
        torso: a network of the architecture that the process was made around; it becomes part of
            the process, with the file's numbers.

    Raises:
        ConfigError: the file is missing or damaged.
        InputError: it holds something else, or its torso has another architecture.
    """
    tensors, meta = checkpoints.load(Path(path))
    if meta.get("format") != FORMAT or meta.get("process") not in PROCESSES:
        raise InputError(f"{path}: holds no process; `laconic.functions.save` writes one")
    references = (tensors[INPUTS], tensors[TARGETS])
    process = PROCESSES[meta["process"]](torso, references, **meta["settings"])
    try:
        process.load_state_dict(tensors)
    except RuntimeError as error:
        first = str(error).splitlines()[-1].strip()
        raise InputError(f"{path}: the torso has another architecture ({first})") from error
    return process.eval()
