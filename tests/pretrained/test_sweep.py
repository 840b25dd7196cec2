"""A sweep: which runs it means, and that no kill at any moment costs more than a checkpoint."""

import json
import os
import signal
import subprocess
import sys
import textwrap
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from laconic.errors import ConfigError, InputError
from laconic.models.base import LatentVariableModel
from laconic.pretrained.runs import complete, is_finished, read_result
from laconic.pretrained.sweep import Run, Sweep, read_sweep
from laconic.pretrained.workers import check
from laconic.training import checkpoints

MODEL = {"side": 8, "latents": 3, "hidden": [16], "planes": 2, "width": 4}


@dataclass
class Readings:
    measures: dict[str, Any]
    files: dict[str, Any]
    grids: dict[str, Any]


class Still:
    """Measures nothing but the weights."""

    def resolve(self, settings: Mapping[str, Any]) -> dict[str, Any]:
        if "images" in settings:
            raise ConfigError("measure.images: unknown key")
        return {"draws": 1} | dict(settings)

    def rehearse(
        self, model: LatentVariableModel, images: Tensor, settings: Mapping[str, Any]
    ) -> None:
        if settings["code"]["bits_back"]:
            raise ConfigError("cannot be coded")

    def take(
        self,
        model: LatentVariableModel,
        train: Tensor,
        test: Tensor,
        settings: Mapping[str, Any],
        watch: Callable[[str, int, int], None],
    ) -> Readings:
        total = sum(float(p.detach().double().abs().sum()) for p in model.parameters())
        grids = {"inputs": (255 * test[:2, 0]).numpy().astype(np.uint8)}
        return Readings({"rate_nats": {"value": total, "error": 0.0}}, {}, grids)


@pytest.fixture
def config(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> dict[str, Any]:
    """A tiny sweep of two runs on twenty binary images of 8 x 8."""
    rng = np.random.default_rng(0)
    (tmp_path / "small").mkdir()
    packed = np.packbits(rng.integers(2, size=(20, 64), dtype=np.uint8), axis=1)
    np.savez(tmp_path / "small" / "binarized_mnist.npz", train=packed, test=packed[:5])
    monkeypatch.setenv("LACONIC_DATA", str(tmp_path))
    return {
        "model": {"name": "dense", "likelihood": "bernoulli", **MODEL},
        "betas": [0.5, 2.0],
        "data": {"kind": "binary", "folder": "small", "split": "train", "batch": 4},
        "test": {"split": "test"},
        "loop": {"steps": 12, "log_steps": 2, "precision": "32-true", "checkpoint_minutes": 0.0},
        "folder": str(tmp_path / "sweep"),
    }


def plan(config: dict[str, Any]) -> Sweep:
    return read_sweep(config, Still().resolve)


def names(sweep: Sweep) -> list[str]:
    return [run.name for run in sweep.runs]


def quiet(stage: str, done: int, total: int) -> None:
    pass


def finish(run: Run) -> dict[str, Any]:
    return complete(run, Still(), quiet)


def weights(run: Run) -> dict[str, Tensor]:
    return checkpoints.load(Path(run.folder) / "checkpoint.safetensors")[0]


FAMILIES: dict[str, Any] = {
    "model": {"name": "family"},
    "families": ["---", "-+v", "++-"],
    "betas": [0.1, 1],
    "data": {"kind": "digits"},
    "loop": {"steps": 5, "kl_warmup_steps": 3},
}


def test_every_family_at_every_beta_target_and_seed() -> None:
    sweep = plan(
        FAMILIES
        | {"targets_nats": [5.0], "seeds": [0, 3], "anneal": [False, True], "folder": "there"}
    )
    assert len(sweep.runs) == len(set(names(sweep))) == 3 * 2 * (2 * 2 + 1)
    assert names(sweep)[:3] == ["----beta-0.1/seed-0", "----beta-1/seed-0", "----rate-5/seed-0"]
    run = next(run for run in sweep.runs if run.name == "-+v-beta-0.1-annealed/seed-3")
    assert run.folder == "there/-+v-beta-0.1-annealed/seed-3"
    assert run.title == "-+v beta 0.1 annealed seed 3"
    assert run.training["model"]["family"] == "-+v"
    assert run.training["loop"]["kl_warmup_steps"] == 3
    assert run.training["loop"]["seed"] == 3
    plain = next(run for run in sweep.runs if run.name == "-+v-beta-0.1/seed-0")
    assert plain.training["loop"]["kl_warmup_steps"] == 0


def test_overrides_change_what_they_name_and_later_ones_win() -> None:
    sweep = plan(
        FAMILIES
        | {
            "overrides": [
                {"families": ["*+*"], "betas": [0.5], "loop": {"steps": 7}},
                {"families": ["++-", "---"], "loop": {"steps": 9}},
            ]
        }
    )
    steps = {run.name: run.training["loop"]["steps"] for run in sweep.runs}
    assert steps == {
        "----beta-0.1/seed-0": 9,
        "----beta-1/seed-0": 9,
        "-+v-beta-0.5/seed-0": 7,
        "++--beta-0.5/seed-0": 9,
    }


def test_chains_start_from_their_neighbours(config: dict[str, Any]) -> None:
    config |= {"chain": True, "first": {"loop": {"steps": 20}}}
    sweep = plan(config)
    (chain,) = sweep.chains
    assert [run.after for run in chain] == ["", chain[0].folder]
    assert [run.training["loop"]["steps"] for run in chain] == [20, 12]
    told = [run.training["starts_from"] for run in chain]
    changed = plan(config | {"first": {"loop": {"steps": 21}}})
    assert told[0] == ""
    assert changed.runs[1].training["starts_from"] != told[1]
    for run in chain:
        finish(run)
    alone = plan(config | {"chain": False, "folder": config["folder"] + "2"}).runs[1]
    finish(alone)
    first, second, other = (
        weights(run)["model.encoder.layers.0.weight"] for run in (*chain, alone)
    )
    assert (second - first).abs().mean() < 0.3 * (second - other).abs().mean()


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"bets": [1.0]}, "bets: unknown key"),
        ({"families": ["-x-"]}, "model.family: '-x-' is no family"),
        ({"families": []}, "families: must be given"),
        ({"model": {"name": "dense"}}, "families: must be given for model.name family"),
        ({"model": {"name": "film"}}, "model.name: 'film'"),
        ({"model": {"name": "family", "size": 3}}, "model.size: unknown key"),
        ({"betas": []}, "both are empty"),
        ({"betas": [0.0]}, "betas: 0.0 is no number above 0"),
        ({"betas": [1, 1.0]}, "----beta-1/seed-0 is asked for twice"),
        ({"betas": 1.0}, "betas: expected tuple"),
        ({"anneal": [1]}, "anneal: expected true or false"),
        ({"anneal": [True], "loop": {}}, "anneal: true needs loop.kl_warmup_steps"),
        ({"loop": {"step": 3}}, "loop.step: unknown key"),
        ({"rate": {"top": 3}}, "rate.top: unknown key"),
        ({"first": {"model": {}}, "chain": True}, "first.model: unknown key"),
        ({"data": {"kind": "photos"}}, "data.kind: 'photos' is not one of digits"),
        ({"data": {"kind": "films"}}, "data.kind: 'films'"),
        ({"test": {"kin": "films"}}, "test.kin: unknown key"),
        ({"code": {"bits": []}}, "code.bits: unknown key"),
        ({"overrides": [{"families": ["*+x"]}]}, r"overrides\[0\].families: '\*\+x' is none of"),
        ({"overrides": [{"betas": [1]}]}, r"overrides\[0\].families: expected"),
        ({"overrides": [{"families": ["---"], "seed": 1}]}, r"overrides\[0\].seed: unknown key"),
        ({"processes": 0}, "processes, threads: must be 1 or more"),
        ({"loop": 3}, "loop"),
    ],
)
def test_impossible_sweeps_are_refused_in_one_line(change: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigError, match=message) as caught:
        plan(FAMILIES | change)
    assert "\n" not in str(caught.value)


def test_a_missing_data_set_is_known_before_anything_is_trained(config: dict[str, Any]) -> None:
    for change in ({"test": {"split": "exam"}}, {"data": config["data"] | {"folder": "nowhere"}}):
        with pytest.raises(InputError, match=r"exam|nowhere"):
            check(plan(config | change), Still())
    with pytest.raises(ConfigError, match=r"measure\.images"):
        plan(config | {"measure": {"images": 3}})
    with pytest.raises(ConfigError, match="cannot be coded"):
        check(plan(config | {"code": {"bits_back": ["dense"]}}), Still())
    with pytest.raises(InputError, match=r"model\.side: it is 10, but the images have 8"):
        check(plan(config | {"model": config["model"] | {"side": 10}}), Still())
    assert not Path(config["folder"]).exists()


def test_a_run_leaves_its_point(config: dict[str, Any]) -> None:
    run = plan(config).runs[0]
    result = finish(run)
    assert result == read_result(run)
    told = {key: result[key] for key in ("format", "name", "family", "data", "seed", "steps")}
    assert told == {
        "format": "laconic rd point 1",
        "name": "dense beta 0.5",
        "family": "dense",
        "data": "small",
        "seed": 0,
        "steps": 12,
    }
    assert result["objective"] == {"name": "beta", "beta": 0.5}
    assert result["annealed"] is False
    assert result["train_seconds"] >= 0
    with np.load(Path(run.folder) / result["grids"]) as grids:
        assert grids["inputs"].shape == (2, 8, 8)
    assert is_finished(run)
    before = run.result.stat().st_mtime_ns
    assert finish(run) == result
    assert run.result.stat().st_mtime_ns == before


def test_other_settings_are_never_mixed(config: dict[str, Any]) -> None:
    run = plan(config).runs[0]
    finish(run)
    longer = plan(config | {"loop": config["loop"] | {"steps": 13}})
    with pytest.raises(ConfigError, match=r"dense-beta-0\.5/seed-0 .*loop\.steps was 12"):
        check(longer, Still())
    measured = plan(config | {"measure": {"draws": 2}}).runs[0]
    with pytest.raises(ConfigError, match=r"draws was 1, is now 2; remove .*result\.json"):
        is_finished(measured)
    run.result.unlink()
    with pytest.raises(ConfigError, match=r"loop\.steps was 12"):
        complete(longer.runs[0], Still(), quiet)
    often = plan(config | {"loop": config["loop"] | {"checkpoint_minutes": 9.0}}).runs[0]
    assert not is_finished(often)
    assert complete(measured, Still(), quiet)["steps"] == 12


def test_a_file_that_is_no_result_is_named(config: dict[str, Any]) -> None:
    run = plan(config).runs[0]
    Path(run.folder).mkdir(parents=True)
    for text in ("{", "[]", "{}"):
        run.result.write_text(text)
        with pytest.raises(InputError, match=r"result\.json"):
            is_finished(run)


NURSERY = """
    import json, os, signal, sys, time
    import torch
    torch.set_num_threads(1)
    from test_sweep import finish
    from laconic.pretrained.sweep import Run

    run = Run(**json.loads(sys.argv[1]))
    replaced = os.replace
    for strike in range(int(sys.argv[2])):
        child = os.fork()
        if not child:
            left = [strike]
            def replace(*paths):  # Every second strike falls before a whole file has its name.
                if left[0] < 1 and strike % 2:
                    os.kill(os.getpid(), signal.SIGKILL)
                replaced(*paths)
                if left[0] < 1:
                    os.kill(os.getpid(), signal.SIGKILL)
                left[0] -= 1
            os.replace = replace
            finish(run)
            os._exit(0)
        print(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]), flush=True)
        sys.stdin.readline()
"""


def test_a_kill_at_any_moment_costs_no_more_than_a_checkpoint(
    config: dict[str, Any], tmp_path: Path
) -> None:
    """Killed before and after every n-th renaming; after each, all files are whole."""
    run = plan(config).runs[0]
    code = textwrap.dedent(NURSERY)
    strikes = 12
    child = subprocess.Popen(
        [sys.executable, "-c", code, json.dumps(run.__dict__), str(strikes)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
        env=os.environ | {"PYTHONPATH": str(Path(__file__).parent), "OMP_NUM_THREADS": "1"},
    )
    assert child.stdin is not None
    assert child.stdout is not None
    ends, steps = [], [0]
    for _ in range(strikes):
        ends.append(int(child.stdout.readline()))
        path = Path(run.folder) / "checkpoint.safetensors"
        if path.exists():
            steps.append(int(checkpoints.load(path)[1]["step"]))
        result = read_result(run)
        assert result is None or result["steps"] == 12
        child.stdin.write("\n")
        child.stdin.flush()
    child.communicate(timeout=30)
    assert steps == sorted(steps)
    assert ends.count(-signal.SIGKILL) >= 4
    assert ends[-1] == 0
    assert is_finished(run)
    whole = plan(config | {"folder": str(tmp_path / "whole")}).runs[0]
    assert finish(whole)["measures"] == (read_result(run) or {})["measures"]
    left, right = weights(run), weights(whole)
    assert all(torch.equal(left[name], right[name]) for name in right)
    logs = [(Path(r.folder) / "log.csv").read_text().splitlines() for r in (run, whole)]
    assert [row.split(",")[0] for row in logs[0]] == [row.split(",")[0] for row in logs[1]]
    assert not list(Path(run.folder).glob(".*"))
