"""A sweep's YAML into its runs: every family at every beta or target rate, each a recipe.

```yaml
model: {name: family, preset: small}   # of small images; `families` gives the family
families: ["---", "-+v"]               # absent for other models
betas: [0.1, 0.5, 1.0]                 # runs that minimise D + beta R
targets_nats: [5.0, 20.0]              # runs that minimise D at a rate R
anneal: [false, true]                  # without and with KL annealing (loop.kl_warmup_steps);
                                       # runs with a target set the KL's weight themselves
chain: false                           # true: betas, and targets, one after another as written,
                                       # each run from the weights of the one before
first: {loop: {...}, rate: {...}}      # what differs for the first of a chain
data: {kind: binary, folder: binary-mnist, split: train, batch: 128}
test: {split: test, images: 10000}     # what differs from `data` for the images to measure with,
                                       # and how many of them, drawn once; all where absent
loop: {...}
rate: {...}
overrides:                             # for families by pattern, '*' being any one character;
  - {families: ["*+*"], betas: [0.5], chain: true, loop: {steps: 3000}}    # later ones win
measure: {...}
code: {bits_back: ["---"], images: 10000}
processes: 2
threads: 1                             # of each process
seeds: [0]
folder: runs/rd/mnist
```

A sweep of recipes that are files of their own, of any kind, has one run for each and each seed, and
for each combination of the settings that `vary` names:

```yaml
recipes: [experiments/miracle/lenet-300-100.yaml, experiments/miracle/lenet-5-caffe.yaml]
vary: {train.epochs: [10, 20]}
seeds: [0, 1, 2]
folder: runs/networks
```
"""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import Any

from laconic.errors import ConfigError
from laconic.lab.contract import Recipe, digest, written
from laconic.lab.recipes import read_recipe
from laconic.lab.recipes.latent import LatentRecipe
from laconic.models import MODELS
from laconic.training.config import build, read_config
from laconic.training.loop import LoopConfig

SECTIONS = ("model", "loop", "rate")
"""Sections that an override changes key by key."""

CODINGS = ("bits_back", "relative_entropy")


@dataclass(frozen=True)
class Axes:
    """What may differ from family to family; see the module.

    Attributes:
        betas: one run for each.
        targets_nats: one run for each.
        anneal: without or with KL annealing.
        chain: start every run from the one before it.
        first: sections that differ for the first of a chain.
        model: name and sizes.
        loop: `LoopConfig`.
        rate: `LearningRate`.
    """

    betas: tuple[float, ...] = ()
    targets_nats: tuple[float, ...] = ()
    anneal: tuple[bool, ...] = (False,)
    chain: bool = False
    first: Mapping[str, Any] = field(default_factory=dict)
    model: Mapping[str, Any] = field(default_factory=dict)
    loop: Mapping[str, Any] = field(default_factory=dict)
    rate: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class CodeAxes:
    """Which families' images become real files.

    Attributes:
        bits_back: patterns of families that are coded by bits-back coding.
        relative_entropy: the same for relative entropy coding.
        images: how many images.
    """

    bits_back: tuple[str, ...] = ()
    relative_entropy: tuple[str, ...] = ()
    images: int = 10_000


@dataclass(frozen=True)
class SweepConfig:
    """What all runs share; see the module."""

    recipes: tuple[str, ...] = ()
    vary: Mapping[str, Any] = field(default_factory=dict)
    families: tuple[str, ...] = ()
    overrides: tuple[Mapping[str, Any], ...] = ()
    seeds: tuple[int, ...] = (0,)
    data: Mapping[str, Any] = field(default_factory=dict)
    test: Mapping[str, Any] = field(default_factory=dict)
    measure: Mapping[str, Any] = field(default_factory=dict)
    code: Mapping[str, Any] = field(default_factory=dict)
    processes: int = 1
    threads: int = 1
    folder: str = "runs/rd"


@dataclass(frozen=True)
class Run:
    """One run of a sweep.

    Attributes:
        name: in its sweep, also its folder's: "-+v-beta-0.5-annealed/seed-0".
        recipe: JSON-able, see `laconic.lab.recipes.read_recipe`; every default written out.
        threads: of torch.
    """

    name: str
    recipe: dict[str, Any]
    threads: int = 1

    @property
    def folder(self) -> Path:
        """Where checkpoint, log and result go."""
        return Path(self.recipe["folder"])


@dataclass(frozen=True)
class Sweep:
    """All runs of a configuration.

    Attributes:
        chains: runs that must be done one after another; different chains are independent.
        processes: how many work at once.
        folder: of all runs.
    """

    chains: tuple[tuple[Run, ...], ...]
    processes: int
    folder: Path

    @property
    def runs(self) -> tuple[Run, ...]:
        """All of them in the order of the configuration."""
        return tuple(run for chain in self.chains for run in chain)


def read_sweep(config: Mapping[str, Any]) -> Sweep:
    """Every run of a configuration; nothing is trained.

    Args:
        config: see the module.

    Raises:
        ConfigError: an unknown key or a value that cannot be, a pattern without families, or no
            run at all.
    """
    known = list(dict.fromkeys(e.name for kind in (SweepConfig, Axes) for e in fields(kind)))
    unknown = [str(key) for key in config if key not in known]
    if unknown:
        raise ConfigError(f"{unknown[0]}: unknown key; known are {', '.join(known)}")
    own = {entry.name for entry in fields(SweepConfig)}
    shared = build(SweepConfig, {k: v for k, v in config.items() if k in own}, "sweep")
    if shared.processes < 1 or shared.threads < 1 or not shared.seeds:
        raise ConfigError("processes, threads: must be 1 or more, and seeds name one or more")
    axes = {key: value for key, value in config.items() if key not in own}
    if shared.recipes:
        if axes or shared.families:
            raise ConfigError(f"{next(iter(axes), 'families')}: not in a sweep of recipes")
        chains = _files(shared)
    else:
        chains = _grid(shared, axes)
    names = [run.name for chain in chains for run in chain]
    twice = [name for name in names if names.count(name) > 1]
    if twice or not names:
        raise ConfigError(
            f"{twice[0]} is in the sweep twice" if twice else "betas, targets_nats: both are empty"
        )
    return Sweep(tuple(chains), shared.processes, Path(shared.folder))


def _files(shared: SweepConfig) -> list[tuple[Run, ...]]:
    """A run for every recipe's file, every combination of varied settings and every seed."""
    chains: list[tuple[Run, ...]] = []
    for path in map(Path, shared.recipes):
        for words, overrides in _combinations(shared.vary):
            recipe = read_recipe(read_config(path, overrides))
            chains += [
                (seeded(recipe, seed, shared.folder, shared.threads, words),)
                for seed in shared.seeds
            ]
    return chains


def _combinations(vary: Mapping[str, Any]) -> list[tuple[str, list[str]]]:
    """Of every combination of the values its name, and `KEY=VALUE` for each setting."""
    found: list[tuple[str, list[str]]] = [("", [])]
    for key, values in vary.items():
        if not isinstance(values, list | tuple) or not values:
            raise ConfigError(f"vary.{key}: expected a list of values, got {values!r}")
        found = [
            (f"{words}-{str(key).rpartition('.')[2]}-{value}", [*before, f"{key}={value}"])
            for words, before in found
            for value in values
        ]
    return found


def seeded(recipe: Recipe, seed: int, folder: str, threads: int = 1, words: str = "") -> Run:
    """The run of a recipe with another seed, in FOLDER/NAME + WORDS/SEED."""
    name = f"{getattr(recipe, 'name', '') or recipe.place.name}{words}/{seed}"
    config = {"recipe": recipe.kind, **written(recipe), "folder": str(Path(folder) / name)}
    if "loop" in config:
        config["loop"]["seed"] = seed
    else:
        config |= {"seed": seed, "runs": folder}
    run = Run(name, json.loads(json.dumps(config)), threads)
    read_recipe(run.recipe).training()
    return run


def _grid(shared: SweepConfig, axes: Mapping[str, Any]) -> list[tuple[Run, ...]]:
    """The runs of every family."""
    families = _families(shared, axes)
    _check_code(shared, families)
    overrides = _overrides(shared, families)
    chains: list[tuple[Run, ...]] = []
    for family in families:
        chains += _chains(shared, _axes(axes, overrides, family), family)
    return chains


def matches(pattern: str, family: str) -> bool:
    """Whether a pattern means a family: character by character, '*' being any one.

    >>> matches("*+*", "-+v"), matches("*+*", "+--"), matches("dense", "dense")
    (True, False, True)
    """
    return len(pattern) == len(family) and all(
        want in ("*", have) for want, have in zip(pattern, family, strict=True)
    )


def _families(shared: SweepConfig, axes: Mapping[str, Any]) -> tuple[str, ...]:
    """Names of the families; of other models, the model's own."""
    model = _mapping(axes.get("model"), "model")
    name = model.get("name")
    if name not in MODELS:
        raise ConfigError(f"model.name: '{name}' is not one of {', '.join(MODELS)}")
    if (name == "family") != bool(shared.families):
        raise ConfigError("families: must be given for model.name family, and for no other")
    return tuple(map(str, shared.families)) or (str(name),)


def _overrides(shared: SweepConfig, families: Sequence[str]) -> list[dict[str, Any]]:
    """The overrides, every pattern checked."""
    known = {"families", *(entry.name for entry in fields(Axes))}
    checked = []
    for index, given in enumerate(shared.overrides):
        where = f"overrides[{index}]"
        override = dict(_mapping(given, where))
        for key in override:
            if key not in known:
                raise ConfigError(f"{where}.{key}: unknown key; known are {', '.join(known)}")
        _check_patterns(override.setdefault("families", []), families, f"{where}.families")
        checked.append(override)
    return checked


def _check_patterns(patterns: Any, families: Sequence[str], where: str) -> None:
    if not isinstance(patterns, list | tuple) or not patterns:
        raise ConfigError(f'{where}: expected a list of patterns, as in ["*+*"]')
    for pattern in patterns:
        if not any(matches(str(pattern), family) for family in families):
            raise ConfigError(f"{where}: '{pattern}' is none of {', '.join(families)}")


def _check_code(shared: SweepConfig, families: Sequence[str]) -> None:
    code = build(CodeAxes, shared.code, "code")
    for way in CODINGS:
        if patterns := getattr(code, way):
            _check_patterns(patterns, families, f"code.{way}")


def _axes(axes: Mapping[str, Any], overrides: Sequence[Mapping[str, Any]], family: str) -> Axes:
    """What holds for one family; sections are changed key by key, the rest is replaced."""
    merged = dict(axes)
    for override in overrides:
        if any(matches(str(pattern), family) for pattern in override["families"]):
            for key, value in override.items():
                if key in SECTIONS:
                    value = {**_mapping(merged.get(key), key), **_mapping(value, key)}
                merged[key] = value
    merged.pop("families", None)
    built = build(Axes, merged, family)
    for anneal in built.anneal:
        if not isinstance(anneal, bool):
            raise ConfigError(f"{family}.anneal: expected true or false, got {anneal!r}")
    return built


def _chains(shared: SweepConfig, axes: Axes, family: str) -> list[tuple[Run, ...]]:
    """The runs of a family, those that build on each other together."""
    betas = [{"name": "rate-distortion", "beta": _number(b, "betas")} for b in axes.betas]
    targets = [
        {"name": "target-rate", "rate_nats": _number(r, "targets_nats")} for r in axes.targets_nats
    ]
    chains: list[tuple[Run, ...]] = []
    for seed in shared.seeds:
        for anneal in axes.anneal:
            for objectives in (betas, targets if anneal == axes.anneal[0] else []):
                runs: list[Run] = []
                for objective in objectives:
                    before = runs[-1] if runs and axes.chain else None
                    eased = anneal and "beta" in objective
                    runs.append(_run(shared, axes, family, objective, eased, seed, before))
                chains += [tuple(runs)] if axes.chain and runs else [(run,) for run in runs]
    return chains


def _run(
    shared: SweepConfig,
    axes: Axes,
    family: str,
    objective: dict[str, Any],
    anneal: bool,
    seed: int,
    before: Run | None,
) -> Run:
    first = _mapping(axes.first, "first") if axes.chain and before is None else {}
    value = objective.get("beta", objective.get("rate_nats"))
    kind = "beta" if "beta" in objective else "rate"
    words = [family, kind, f"{value:.12g}", *["annealed"] * anneal]
    name = f"{'-'.join(words)}/seed-{seed}"
    model = dict(axes.model)
    recipe = LatentRecipe.read(
        {
            "model": {**model, "family": family} if model["name"] == "family" else model,
            "data": shared.data,
            "objective": objective,
            "loop": _loop(axes, first, anneal, seed),
            "rate": _section(axes.rate, first, "rate"),
            "folder": str(Path(shared.folder) / name),
            "after": "" if before is None else str(before.folder),
            "starts_from": "" if before is None else digest(read_recipe(before.recipe)),
            "name": " ".join([*words, *([f"seed {seed}"] if len(shared.seeds) > 1 else [])]),
            "test": {"images": 0, **_mapping(shared.test, "test")},
            "measure": shared.measure,
            "code": _code(shared, family),
        }
    )
    sections = {**recipe.training(), **recipe.measuring()}
    resolved = {name: sections[name] for name in ("model", "data", "loop", "rate", "measure")}
    config = {"recipe": recipe.kind, **written(recipe), **written(resolved)}
    return Run(name, json.loads(json.dumps(config)), shared.threads)


def _loop(axes: Axes, first: Mapping[str, Any], anneal: bool, seed: int) -> dict[str, Any]:
    given = {**_section(axes.loop, first, "loop"), "seed": seed}
    if not anneal:
        given["kl_warmup_steps"] = 0
    if anneal and build(LoopConfig, given, "loop").kl_warmup_steps < 1:
        raise ConfigError("anneal: true needs loop.kl_warmup_steps, the steps that annealing takes")
    return given


def _code(shared: SweepConfig, family: str) -> dict[str, Any]:
    code = build(CodeAxes, shared.code, "code")
    wanted = {way: any(matches(str(p), family) for p in getattr(code, way)) for way in CODINGS}
    return {**wanted, "images": code.images}


def _section(given: Any, first: Mapping[str, Any], key: str) -> dict[str, Any]:
    unknown = set(first) - {"loop", "rate"}
    if unknown:
        raise ConfigError(f"first.{sorted(unknown)[0]}: unknown key; known are loop, rate")
    return {**_mapping(given, key), **_mapping(first.get(key), f"first.{key}")}


def _mapping(given: Any, where: str) -> Mapping[str, Any]:
    if given is None:
        return {}
    if not isinstance(given, Mapping):
        raise ConfigError(f"{where}: expected a mapping, got {given!r}")
    return given


def _number(value: Any, where: str) -> float:
    try:
        number = float(value)
    except (TypeError, ValueError):
        number = -1.0
    if not 0 < number < float("inf") or isinstance(value, bool):
        raise ConfigError(f"{where}: {value!r} is not a number above 0")
    return number
