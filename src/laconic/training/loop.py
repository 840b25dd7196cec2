"""The training loop: the same for every model and loss."""

import csv
import os
import time
from collections.abc import Callable, Mapping
from copy import deepcopy
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import torch
from torch import Tensor, nn

from laconic.errors import ConfigError
from laconic.training import checkpoints
from laconic.training.ahead import Ahead, Batches
from laconic.training.loss import Loss, LossState
from laconic.training.processes import Processes
from laconic.training.schedules import LearningRate


@dataclass(frozen=True)
class LoopConfig:
    """Settings of the loop.

    Attributes:
        steps: total steps of the run, with those of earlier sittings.
        minutes: stop, with a checkpoint, after this many minutes; 0 for no limit.
        kl_warmup_steps: steps over which the weight of the KL rises to 1.
        weight_power: examples weigh beta^power, since the loss grows as beta falls.
        clip_norm: gradients are clipped to this norm.
        average_decay: decay of the exponential moving average of the weights.
        precision: "bf16-mixed" or "32-true", as Fabric names them.
        checkpoint_minutes: minutes between checkpoints.
        log_steps: steps between rows of the log.
        seed: seed of the noise and of beta.
        logger: "csv" or "tensorboard".
        slow_prefix: parameters whose names start with it have the learning rate times
            `slow_factor`: the entries of a fitted linear transform are far below 1, and Adam's
            steps of constant size would destroy them.
        slow_factor: see `slow_prefix`.
        compile: compile the networks with torch.compile: takes a minute at the start, then about
            15 % more steps per second on the CPU; needs a C++ compiler.
        ahead: batches that threads prepare in advance; 0 for none. The batches are the same.
        devices: processes on each machine; each computes an equal share of every batch.
        nodes: machines.
    """

    steps: int = 150_000
    minutes: float = 0.0
    kl_warmup_steps: int = 0
    weight_power: float = 0.4
    clip_norm: float = 1.0
    average_decay: float = 0.999
    precision: str = "bf16-mixed"
    checkpoint_minutes: float = 3.0
    log_steps: int = 100
    seed: int = 0
    logger: str = "csv"
    slow_prefix: str = "transform."
    slow_factor: float = 0.02
    compile: bool = False
    ahead: int = 0
    devices: int = 1
    nodes: int = 1


CHECKPOINT: Final = "checkpoint.safetensors"
"""Name of a run's checkpoint, in its folder."""


class Log:
    """Writes rows of numbers to `log.csv` and, if set, to TensorBoard's event files."""

    def __init__(self, folder: Path, kind: str) -> None:
        self.path = folder / "log.csv"
        self.board: Any = None
        if kind == "tensorboard":
            from torch.utils.tensorboard import SummaryWriter

            self.board = SummaryWriter(str(folder))
        elif kind != "csv":
            raise ConfigError(f"logger: '{kind}' is not one of csv, tensorboard")

    def rewind(self, step: int) -> None:
        """Remove the rows after `step`, which a resumed run writes again."""
        if not self.path.exists():
            return
        lines = self.path.read_text().splitlines(keepends=True)
        whole = [line for line in lines if line.endswith("\n")]  # The last row may be incomplete.
        kept = whole[:1] + [row for row in whole[1:] if float(row.split(",")[0]) <= step]
        part = self.path.with_name(f".{self.path.name}.part{os.getpid()}")
        part.write_text("".join(kept))
        os.replace(part, self.path)

    def write(self, row: dict[str, float]) -> None:
        """Append one row; the first row sets the columns."""
        new = not self.path.exists() or not self.path.stat().st_size
        with self.path.open("a", newline="") as file:
            writer = csv.DictWriter(file, fieldnames=list(row))
            if new:
                writer.writeheader()
            writer.writerow(row)
        if self.board is not None:
            for name, value in row.items():
                self.board.add_scalar(name, value, int(row["step"]))


class Window:
    """Means of the numbers reported by the steps since the last row of the log."""

    def __init__(self) -> None:
        self.started = time.monotonic()
        self.sums: dict[str, float] = {}
        self.steps = 0

    def add(self, numbers: dict[str, float]) -> None:
        """Add the numbers of one step."""
        self.steps += 1
        for name, value in numbers.items():
            self.sums[name] = self.sums.get(name, 0.0) + value

    def means(self) -> dict[str, float]:
        """Mean of every number, and the speed."""
        means = {name: value / self.steps for name, value in self.sums.items()}
        return means | {"steps_per_second": self.steps / (time.monotonic() - self.started)}


class Trainer:
    """The state of a run, which a checkpoint holds completely, and its training step.

    Args:
        model: the module that is trained.
        loss: the function to minimise; it calls `model` or parts of it.
        batches: the data.
        rate: learning rate by step.
        config: settings.
        folder: folder of checkpoint and log.
        identity: what identifies the objective, as data that JSON can hold; kept in the checkpoint.
        factors: factor of the learning rate by prefix of parameters' names, in addition to
            `config.slow_prefix`.
        after_step: called after every change of the weights, for constraints.
        state: of the loss, kept in the checkpoint.

    Attributes:
        step: number of finished steps.
        seconds: time of these steps, over all sittings.
    """

    def __init__(
        self,
        model: nn.Module,
        loss: Loss,
        batches: Batches,
        rate: LearningRate,
        config: LoopConfig,
        folder: Path,
        identity: dict[str, Any],
        factors: Mapping[str, float] | None = None,
        after_step: Callable[[], None] | None = None,
        state: LossState | None = None,
    ) -> None:
        self.processes = Processes(config.devices, config.nodes, config.precision)
        self.fabric = self.processes.fabric
        self.model = model.to(self.fabric.device, memory_format=torch.channels_last)  # type: ignore[call-overload]
        self.average = deepcopy(self.model).eval()
        self.loss, self.after_step = loss, after_step
        self.batches = Ahead(batches, config.ahead) if config.ahead > 0 else batches
        self.state = (LossState() if state is None else state).to(self.fabric.device)
        self.rate, self.config, self.folder, self.identity = rate, config, folder, identity
        slow = {config.slow_prefix: config.slow_factor} if config.slow_prefix else {}
        self.optimizer = torch.optim.Adam(
            self._groups({**slow, **(factors or {})}), lr=rate.peak, fused=True
        )
        self.step = self.sitting_start = 0
        self.seconds = 0.0
        self._between_steps = True
        folder.mkdir(parents=True, exist_ok=True)
        self.log = Log(folder, config.logger)

    @property
    def checkpoint(self) -> Path:
        """Path of the run's checkpoint."""
        return self.folder / CHECKPOINT

    def run(self, progress: Callable[[int, dict[str, float]], None] | None = None) -> None:
        """Train until the limit of steps or minutes; write checkpoints in between and at the end.

        Ctrl-C writes a checkpoint, too. Without an interruption the checkpoint is in its place when
        this returns, in every process.
        """
        started = saved = time.monotonic()
        before = self.seconds
        window = Window()
        try:
            while self.step < self.config.steps:
                window.add(self._advance())
                if self.step % self.config.log_steps == 0:
                    self._write_row(window.means(), progress)
                    window = Window()
                now = time.monotonic()
                self.seconds = before + now - started
                if now - saved > 60 * self.config.checkpoint_minutes:
                    self.save()
                    saved = time.monotonic()
                if self.processes.any(0 < 60 * self.config.minutes < now - started):
                    break
        finally:
            if self._between_steps:  # Interrupted within a step: this state cannot be resumed.
                self.save()
        self.processes.wait()  # Not above: an interrupted process would wait for the others.

    def _write_row(
        self, means: dict[str, float], progress: Callable[[int, dict[str, float]], None] | None
    ) -> None:
        """Write and show a row of the log, the means over all processes."""
        row = {"step": float(self.step), **self.processes.means(means)}
        if self.processes.rank == 0:
            self.log.write(row)
            if progress is not None:
                progress(self.step, row)

    def _advance(self) -> dict[str, float]:
        given = self.batches.batch(self.step)
        parts = [given] if isinstance(given, Tensor) else given
        batch = [self.processes.share(part).to(self.fabric.device) for part in parts]
        self.processes.seed(self.config.seed * 1_000_003 + self.step)
        for group in self.optimizer.param_groups:
            group["lr"] = self.rate.at(self.step, self.sitting_start) * group["factor"]
        with self.fabric.autocast():
            loss, numbers = self.loss(batch, self.step)
        self.optimizer.zero_grad(set_to_none=True)
        self.fabric.backward(loss)
        self.processes.average_gradients(self.model)
        norm = nn.utils.clip_grad_norm_(self.model.parameters(), self.config.clip_norm)
        self._between_steps = False
        if bool(torch.isfinite(norm)):
            self.optimizer.step()
        self.state.after_step()
        self.processes.average_state(self.model, self.state)
        if self.after_step is not None:
            self.after_step()
        self._update_average()
        self.step += 1
        self._between_steps = True
        rate = self.optimizer.param_groups[0]["lr"]
        common = {"learning_rate": rate, "loss": float(loss.detach()), "gradient_norm": float(norm)}
        return common | numbers

    def _groups(self, factors: Mapping[str, float]) -> list[dict[str, Any]]:
        """Parameters grouped by factor of the learning rate; those of factor 1 first."""
        groups: dict[float, list[nn.Parameter]] = {1.0: []}
        for name, parameter in self.model.named_parameters():
            fitting = [factor for prefix, factor in factors.items() if name.startswith(prefix)]
            groups.setdefault(fitting[-1] if fitting else 1.0, []).append(parameter)
        return [{"params": group, "factor": factor} for factor, group in groups.items() if group]

    @torch.no_grad()
    def _update_average(self) -> None:
        decay = min(self.config.average_decay, (1 + self.step) / (10 + self.step))
        pairs = list(zip(self.average.parameters(), self.model.parameters(), strict=True))
        torch._foreach_lerp_([a for a, _ in pairs], [b.data for _, b in pairs], 1 - decay)

    def save(self) -> None:
        """Write the state of the run atomically; the first process does it for all."""
        if self.processes.rank:
            return
        tensors = {f"model.{name}": value for name, value in self.model.state_dict().items()}
        tensors |= {f"average.{name}": value for name, value in self.average.state_dict().items()}
        tensors |= {f"state.{name}": value for name, value in self.state.state_dict().items()}
        tensors |= checkpoints.pack_optimizer(self.optimizer)
        checkpoints.save(self.checkpoint, tensors, self._meta())

    def resume(self) -> None:
        """Continue exactly at the checkpoint in the run's folder.

        Raises:
            ConfigError: there is no checkpoint, or it belongs to another objective.
        """
        tensors, meta = checkpoints.load(self.checkpoint)
        held = {name for name in tensors if name.startswith("state.")}
        if held != {f"state.{name}" for name in self.state.state_dict()}:
            raise ConfigError(f"{self.checkpoint}: belongs to another objective; start a new run")
        modules = {"model.": self.model, "average.": self.average, "state.": self.state}
        for prefix, module in modules.items():
            part = {k.removeprefix(prefix): v for k, v in tensors.items() if k.startswith(prefix)}
            module.load_state_dict(part)
        checkpoints.unpack_optimizer(self.optimizer, tensors)
        self.step, self.sitting_start = int(meta["step"]), int(meta.get("sitting_start", 0))
        self.seconds = float(meta.get("seconds", 0.0))
        if self.processes.rank == 0:
            self.log.rewind(self.step)

    def start_from(self, state: dict[str, Tensor], step: int) -> None:
        """Begin a new sitting from released weights, with a new state of Adam."""
        self.model.load_state_dict(state)
        self.average.load_state_dict(state)
        self.step = self.sitting_start = step

    def _meta(self) -> dict[str, Any]:
        clock = {"seconds": self.seconds}
        return {"step": self.step, "sitting_start": self.sitting_start, **clock, **self.identity}
