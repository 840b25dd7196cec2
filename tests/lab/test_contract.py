"""Settings, digests and what is refused, for every kind of recipe."""

from dataclasses import dataclass, field, make_dataclass
from pathlib import Path
from typing import Any

import pytest

from laconic.errors import ConfigError, InputError
from laconic.evaluation.plane.points import FORMAT
from laconic.lab.contract import (
    Choice,
    Findings,
    changed,
    digest,
    digest_of,
    refuse_changes,
    written,
)
from laconic.lab.recipes import RECIPES, find_recipe, read_recipe
from laconic.lab.runs import read_document, write_result

SMALLEST: dict[str, dict[str, Any]] = {
    "latent": {"model": {"name": "vae"}},
    "classifier": {"network": "lenet-300-100"},
    "weights": {"name": "a", "network": "lenet-300-100", "method": "l0"},
    "process": {"name": "a"},
    "channels": {"system": {"name": "pair"}, "channel": {"name": "bsc"}},
    "photographs": {},
    "uncertainty": {"name": "a", "network": "lenet-5-caffe", "method": "vmg"},
}
HAVE_DEFAULTS = ("latent", "channels", "photographs")
"""Kinds whose keys all have defaults, though not all defaults make a recipe."""
DIGESTS = {
    "latent": "a8ab0b5c3ffa9847",
    "classifier": "ddf477229f2f762a",
    "weights": "6de4effda7953d16",
    "process": "7e55acdd42d410c7",
    "channels": "0cad06c27cb48936",
    "photographs": "db4390206c2a8637",
    "uncertainty": "515edb3ea4ff879a",
}


def test_every_kind_is_tried() -> None:
    assert set(SMALLEST) == set(DIGESTS) == set(RECIPES)


def test_every_kind_is_found_by_its_own_name() -> None:
    assert {kind: find_recipe(kind).kind for kind in RECIPES} == {kind: kind for kind in RECIPES}


@pytest.mark.parametrize("kind", RECIPES)
def test_a_recipe_is_read_from_what_it_writes(kind: str) -> None:
    recipe = read_recipe({"recipe": kind, **SMALLEST[kind]})
    again = read_recipe({"recipe": kind, **written(recipe)})
    assert digest(again) == digest(recipe)
    assert written(again.training()) == written(recipe.training())
    assert written(again.measuring()) == written(recipe.measuring())


@pytest.mark.parametrize("kind", RECIPES)
def test_unknown_and_missing_keys_are_named(kind: str) -> None:
    with pytest.raises(ConfigError, match=f"colour: unknown key; a recipe of kind '{kind}' has"):
        read_recipe({"recipe": kind, **SMALLEST[kind], "colour": 3})
    for name in () if kind in HAVE_DEFAULTS else SMALLEST[kind]:
        left = {key: value for key, value in SMALLEST[kind].items() if key != name}
        with pytest.raises(ConfigError, match=f"{name}: missing"):
            read_recipe({"recipe": kind, **left})
    with pytest.raises(ConfigError, match=f"recipe: 'film' is not one of .*{kind}"):
        read_recipe({"recipe": "film"})


@pytest.mark.parametrize("kind", RECIPES)
def test_the_digest_of_a_recipe_never_changes(kind: str) -> None:
    """It identifies checkpoints on disk."""
    assert digest(read_recipe({"recipe": kind, **SMALLEST[kind]})) == DIGESTS[kind]


def test_the_digest_covers_what_changes_the_weights() -> None:
    def digested(**settings: Any) -> str:
        return digest(read_recipe({"model": {"name": "vae"}, **settings}))

    assert digested(loop={"steps": 150_000, "logger": "tensorboard"}, folder="a") == digested()
    assert digested(rate={"peak": "5e-4"}) == digested()
    changes: list[dict[str, Any]] = [
        {"loop": {"steps": 3}},
        {"objective": "beta"},
        {"data": {"seed": 2}},
        {"model": {"name": "vae", "width": 7}},
        {"start_from": "default"},
    ]
    assert len({digested(**change) for change in [{}, *changes]}) == len(changes) + 1


@dataclass(frozen=True)
class Before:
    steps: int = 3
    inner: Choice = field(default_factory=lambda: Choice("a"))


def test_a_new_setting_at_its_default_changes_no_digest() -> None:
    after = make_dataclass("After", [("added", int, 7)], bases=(Before,), frozen=True)
    assert digest_of(changed(after(steps=4))) == digest_of(changed(Before(steps=4)))
    assert digest_of(changed(after(added=8))) != digest_of(changed(Before()))


def test_nested_settings_are_compared_with_the_default_of_their_field() -> None:
    outer = make_dataclass(
        "Outer", [("part", Before, field(default_factory=lambda: Before(5)))], frozen=True
    )
    assert changed(outer()) == {}
    assert changed(outer(Before(3))) == {"part": {"steps": 3}}


def test_the_first_change_is_named() -> None:
    found = {"loop": {"steps": 3, "log_steps": 1}, "beta": 1.0}
    refuse_changes(found, {"loop": {"steps": 3, "log_steps": 9}, "beta": 1}, "run", "stop")
    for wanted, change in (
        ({"loop": {"steps": 4}, "beta": 1.0}, "loop.steps was 3, is now 4"),
        ({"loop": {"steps": 3}}, "beta was 1.0, is now None"),
    ):
        with pytest.raises(ConfigError, match=f"run was made with other settings: {change}; stop"):
            refuse_changes(found, wanted, "run", "stop")
    with pytest.raises(ConfigError, match="beta was None"):
        refuse_changes(None, {"beta": 1.0}, "run", "stop")
    refuse_changes(found, {"loop": {"steps": 4}, "beta": 1.0}, "run", "stop", ("loop",))


def test_what_is_not_a_result_is_named(tmp_path: Path) -> None:
    for text in ("{", "[]", '{"format": "laconic rd point 0"}'):
        (tmp_path / "result.json").write_text(text)
        with pytest.raises(InputError, match=r"result\.json"):
            read_document(tmp_path, FORMAT)


def test_a_result_is_written_whole_and_read_back(tmp_path: Path) -> None:
    assert read_document(tmp_path, FORMAT) is None
    bare = Findings({"name": "a", "measures": {"rate_nats": {"value": 1.0, "error": 0.5}}})
    result = write_result(tmp_path, FORMAT, bare, {"a": 1})
    assert result == {"format": "laconic rd point 1", **bare.facts, "settings": {"a": 1}}
    assert read_document(tmp_path, FORMAT) == result
    assert [path.name for path in tmp_path.iterdir()] == ["result.json"]
    full = Findings({"name": "a"}, {"inputs": [0.0]}, {"net.lac": b"net"})
    assert write_result(tmp_path, FORMAT, full, {})["grids"] == "grids.npz"
    assert (tmp_path / "net.lac").read_bytes() == b"net"
    with pytest.raises(ValueError, match="JSON"):
        write_result(tmp_path, FORMAT, Findings({"rate_nats": float("nan")}), {})
    assert (read_document(tmp_path, FORMAT) or {})["grids"] == "grids.npz"
