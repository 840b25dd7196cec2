"""A sweep: which runs it means, and what is refused before anything is trained."""

from pathlib import Path
from typing import Any

import pytest

from laconic.errors import ConfigError, InputError
from laconic.lab.recipes import read_recipe
from laconic.lab.sweep import Sweep, read_sweep
from laconic.lab.workers import check


def plan(config: dict[str, Any]) -> Sweep:
    return read_sweep(config)


def names(sweep: Sweep) -> list[str]:
    return [run.name for run in sweep.runs]


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
    assert run.folder == Path("there/-+v-beta-0.1-annealed/seed-3")
    assert run.recipe["name"] == "-+v beta 0.1 annealed seed 3"
    assert run.recipe["model"]["family"] == "-+v"
    assert run.recipe["loop"]["kl_warmup_steps"] == 3
    assert run.recipe["loop"]["seed"] == 3
    plain = next(run for run in sweep.runs if run.name == "-+v-beta-0.1/seed-0")
    assert plain.recipe["loop"]["kl_warmup_steps"] == 0


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
    steps = {run.name: run.recipe["loop"]["steps"] for run in sweep.runs}
    assert steps == {
        "----beta-0.1/seed-0": 9,
        "----beta-1/seed-0": 9,
        "-+v-beta-0.5/seed-0": 7,
        "++--beta-0.5/seed-0": 9,
    }


def test_chains_start_from_their_neighbours(sweep_config: dict[str, Any]) -> None:
    config = sweep_config | {"chain": True, "first": {"loop": {"steps": 20}}}
    sweep = plan(config)
    (chain,) = sweep.chains
    assert [run.recipe["after"] for run in chain] == ["", str(chain[0].folder)]
    assert [run.recipe["loop"]["steps"] for run in chain] == [20, 12]
    started = [run.recipe["starts_from"] for run in chain]
    changed = plan(config | {"first": {"loop": {"steps": 21}}})
    assert started[0] == ""
    assert changed.runs[1].recipe["starts_from"] != started[1]


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
        ({"betas": [0.0]}, "betas: 0.0 is not a number above 0"),
        ({"betas": [1, 1.0]}, "----beta-1/seed-0 is in the sweep twice"),
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
        ({"recipes": ["a.yaml"]}, "model: not in a sweep of recipes"),
    ],
)
def test_impossible_sweeps_are_refused_in_one_line(change: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigError, match=message) as caught:
        plan(FAMILIES | change)
    assert "\n" not in str(caught.value)


@pytest.mark.usefixtures("_quick")
def test_a_missing_data_set_is_known_before_anything_is_trained(
    sweep_config: dict[str, Any],
) -> None:
    config = sweep_config
    for change in ({"test": {"split": "exam"}}, {"data": config["data"] | {"folder": "nowhere"}}):
        with pytest.raises(InputError, match=r"exam|nowhere"):
            check(plan(config | change))
    with pytest.raises(ConfigError, match=r"measure\.images"):
        read_sweep(config | {"measure": {"images": 3}})
    with pytest.raises(ConfigError, match="cannot be coded"):
        check(plan(config | {"code": {"bits_back": ["dense"]}}))
    with pytest.raises(InputError, match=r"model\.side: it is 10, but the images have 8"):
        check(plan(config | {"model": config["model"] | {"side": 10}}))
    assert not Path(config["folder"]).exists()


def test_a_sweep_of_recipes_has_a_run_for_each_seed(tmp_path: Path) -> None:
    """Recipes of any kind."""
    weights, latent = tmp_path / "weights.yaml", tmp_path / "latent.yaml"
    weights.write_text("recipe: weights\nname: w\nnetwork: lenet-300-100\nmethod: l0\n")
    latent.write_text("name: l\nmodel: {name: vae}\nloop: {steps: 3}\n")
    sweep = plan({"recipes": [str(weights), str(latent)], "seeds": [0, 3], "folder": str(tmp_path)})
    assert names(sweep) == ["w/0", "w/3", "l/0", "l/3"]
    assert [run.folder for run in sweep.runs] == [tmp_path / name for name in names(sweep)]
    read = [read_recipe(run.recipe) for run in sweep.runs]
    seeds = [recipe.training().get("seed", recipe.training().get("loop")) for recipe in read]
    assert (seeds[1], seeds[3].seed, seeds[3].steps) == (3, 3, 3)
    weights.write_text("recipe: weights\nname: w\nnetwork: lenet-300-100\nmethod: l9\n")
    with pytest.raises(ConfigError, match="method: 'l9' is not one of"):
        plan({"recipes": [str(weights)]})
