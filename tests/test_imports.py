"""No module imports itself through others, imports for types and inside functions included."""

from graphlib import CycleError, TopologicalSorter
from pathlib import Path

import grimp
import pytest


def order(graph: grimp.ImportGraph) -> list[str]:
    """All modules, each behind those that it imports."""
    imports = {name: graph.find_modules_directly_imported_by(name) for name in graph.modules}
    return list(TopologicalSorter(imports).static_order())


def test_there_is_no_circle_of_imports() -> None:
    graph = grimp.build_graph("laconic", cache_dir=None)
    assert "laconic.models.sliced.ladder" in order(graph)
    graph.add_import(importer="laconic.errors", imported="laconic.models.sliced.ladder")
    with pytest.raises(CycleError):
        order(graph)


@pytest.mark.parametrize("circle", ["typing", "function"])
def test_imports_for_types_and_in_functions_are_found(
    circle: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The graph that the test above looks at has both kinds."""
    package = tmp_path / f"circle_{circle}"
    package.mkdir()
    back = {
        "typing": "from typing import TYPE_CHECKING\nif TYPE_CHECKING:\n    from {0} import a\n",
        "function": "def f():\n    from {0} import a\n",
    }[circle].format(package.name)
    for name, text in (("__init__", ""), ("a", f"from {package.name} import b\n"), ("b", back)):
        (package / f"{name}.py").write_text(text)
    monkeypatch.syspath_prepend(tmp_path)
    with pytest.raises(CycleError):
        order(grimp.build_graph(package.name, cache_dir=None))
