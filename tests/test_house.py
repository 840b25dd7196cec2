"""The repository's own rules: errors, paths, versions, quick commands, plain words, examples."""

import ast
import inspect
import io
import json
import re
import subprocess
import sys
import tokenize
import tomllib
from collections import Counter
from collections.abc import Iterator
from importlib import metadata, resources
from pathlib import Path

import pytest
from packaging.version import Version
from PIL import Image
from safetensors.torch import save_file

from laconic import errors
from laconic.models.vae import VAE, VAEConfig

REPOSITORY = Path(__file__).resolve().parents[1]
PAGES = sorted([REPOSITORY / "README.md", *(REPOSITORY / "docs").glob("*.md")])
SLOW_PAGES = {"README.md", "tutorial.md", "uncertainty.md", "weights.md"}
"""Pages whose examples compute for seconds."""
FENCE = re.compile(r"(<!-- not run: .+? -->\n)?^```python\n(.*?)^```", re.MULTILINE | re.DOTALL)
MACHINE_PATH = re.compile(r"/(root|home/[a-z]\w*|work/(main|shared)|tmp/[a-z]\w*|opt/[a-z]\w*)\b")
RIDDLES = re.compile(
    r"\b(told|tells?|telling|hears?|heard|hearing|foresee[ns]?|foresaw|wish(es)?|mends?|climbs|nobody"
    r"|whoever|asked for|asks? for)\b",
    re.IGNORECASE,
)
"""Words that used to stand for encoded, sent, predicted, required ... See CONTRIBUTING.md."""
EXTRAS = [
    "lightning", "tensorboard", "yaml", "scipy", "matplotlib", "zuko", "pillow_heif", "pillow_jxl",
]  # fmt: skip


def tracked_files() -> list[Path]:
    done = subprocess.run(
        ["git", "ls-files", "-z"], cwd=REPOSITORY, capture_output=True, text=True, check=False
    )
    if done.returncode:
        pytest.skip("not a git checkout, so no list of tracked files")
    return [
        path for name in done.stdout.split("\0") if name and (path := REPOSITORY / name).exists()
    ]


def run_python(code: str) -> str:
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, timeout=60, check=False
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


def documented_tree() -> dict[str, str | None]:
    """Class -> parent, as drawn in the docstring of errors.py."""
    assert errors.__doc__ is not None
    drawing = errors.__doc__.split("```")[1]
    tree: dict[str, str | None] = {}
    path: list[str] = []
    for line in drawing.strip().splitlines():
        found = re.match(r"([│├└─ ]*)(\w+)", line)
        assert found is not None, line
        depth = len(found[1]) // 4
        path = [*path[:depth], found[2]]
        tree[found[2]] = path[-2] if depth else None
    return tree


def test_the_tree_of_errors_is_the_one_drawn() -> None:
    defined = {
        name: value
        for name, value in vars(errors).items()
        if inspect.isclass(value) and issubclass(value, Exception)
    }
    tree = documented_tree()
    assert set(tree) == set(defined)
    for name, parent in tree.items():
        assert defined[name].__bases__ == (defined[parent] if parent else Exception,)
        assert defined[name].__doc__


def test_no_tracked_file_names_a_machine() -> None:
    found = []
    for path in tracked_files():
        data = path.read_bytes()
        if b"\0" in data[:4096]:
            continue
        text = data.decode("utf-8", errors="replace")
        found += [
            f"{path.relative_to(REPOSITORY)}: {hit[0]}" for hit in MACHINE_PATH.finditer(text)
        ]
    assert found == []


def test_versions_agree() -> None:
    import laconic

    newest = re.search(r"^## \[(.+?)\]", (REPOSITORY / "CHANGELOG.md").read_text(), re.MULTILINE)
    assert newest is not None
    assert newest[1] == laconic.__version__ == metadata.version(errors.DISTRIBUTION)


def lower_bounds(*left_out: str) -> dict[str, str]:
    """Name -> oldest version of every dependency in pyproject.toml, but for these extras'."""
    project = tomllib.loads((REPOSITORY / "pyproject.toml").read_text())["project"]
    extras = project["optional-dependencies"]
    listed = [*project["dependencies"]]
    listed += [one for extra, names in extras.items() if extra not in left_out for one in names]
    found = {}
    for requirement in listed:
        name, _, version = requirement.partition(">=")
        plain = name.partition("[")[0]
        if plain != errors.DISTRIBUTION:
            assert version, f"{requirement} has no lower bound"
            found[plain] = version
    return found


def pins(name: str) -> dict[str, str]:
    """Name -> version in a constraints file."""
    lines = (REPOSITORY / name).read_text().splitlines()
    return dict(line.split("==") for line in lines if "==" in line)


def test_every_direct_dependency_is_pinned() -> None:
    assert set(lower_bounds()) <= set(pins("constraints.txt"))


def test_the_oldest_versions_are_the_lower_bounds() -> None:
    """Those that CI tests with are those that pyproject.toml allows.

    Two extras are left out: the package of `channels` needs a newer torch than the rest, that of
    `cluster` is as large as all of the rest.
    """
    oldest = {name: Version(version) for name, version in pins("constraints-oldest.txt").items()}
    assert oldest == {
        name: Version(v) for name, v in lower_bounds("docs", "dev", "channels", "cluster").items()
    }


def test_listed_slow_tests_exist() -> None:
    """Every name in tests/slow_tests.txt is that of a test in its file, or of a suite's."""
    suites = "".join(path.read_text() for path in (REPOSITORY / "src/laconic/testing").glob("*.py"))
    missing = []
    for line in (REPOSITORY / "tests" / "slow_tests.txt").read_text().splitlines():
        path, _, name = line.partition("[")[0].partition("::")
        function = name.rpartition("::")[2]
        source = REPOSITORY / path
        text = source.read_text() if source.is_file() else ""
        if f"def {function}(" not in text + suites or not text:
            missing.append(line)
    assert missing == [], "make slow-tests writes the list anew"


@pytest.mark.parametrize("call", ["import laconic", "import laconic.cli"])
def test_imports_stay_quick(call: str) -> None:
    heavy = "{'torch', 'numba', 'lightning', 'matplotlib', 'scipy'}"
    assert run_python(f"{call}\nimport sys; print({heavy} & set(sys.modules))") == "set()\n"


def test_help_does_not_import_torch() -> None:
    code = (
        "import sys, laconic.cli\n"
        "sys.argv = ['laconic', '--help']\n"
        "try:\n    laconic.cli.main()\n"
        "except SystemExit as end:\n    assert not end.code, end.code\n"
        "assert 'torch' not in sys.modules and 'numba' not in sys.modules\n"
    )
    assert "compress" in run_python(code)


@pytest.mark.slow
def test_the_codec_needs_no_extra(tmp_path: Path) -> None:
    """An installation without extras loads a model and encodes with it."""
    config = VAEConfig(width=4, latents=4)
    facts = {"model": {"name": "vae", "width": 4, "latents": 4}, "step": 1}
    weights = tmp_path / "weights.safetensors"
    save_file(VAE(config).state_dict(), weights, metadata={"meta": json.dumps(facts)})
    run_python(
        "import sys\n"
        f"sys.modules.update(dict.fromkeys({EXTRAS}))\n"
        "import laconic.codecs.image.codec, laconic.data.images, laconic.pretrained\n"
        f"assert laconic.pretrained.load({str(weights)!r}).steps == 1\n"
    )


def test_no_folder_or_function_is_too_large() -> None:
    """Functions have at most 40 lines besides their docstring; folders at most 20 modules."""
    grown = []
    folders = Counter(path.parent for path in (REPOSITORY / "src").rglob("*.py"))
    grown += [folder.name for folder, modules in folders.items() if modules > 20]
    for path in sorted((REPOSITORY / "src").rglob("*.py")):
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
                body = node.body[1:] if ast.get_docstring(node) else node.body
                if body and (body[-1].end_lineno or 0) - body[0].lineno >= 40:
                    grown.append(f"{path.name}: {node.name}")
    assert grown == []


def prose_of(path: Path) -> list[tuple[int, str]]:
    """Lines of a page; or a module's docstrings, comments, messages and own names."""
    text = path.read_text()
    if path.suffix == ".md":
        return list(enumerate(text.splitlines(), 1))
    kinds = {tokenize.COMMENT, tokenize.STRING, getattr(tokenize, "FSTRING_MIDDLE", -1)}
    found, attribute = [], False
    for token in tokenize.generate_tokens(io.StringIO(text).readline):
        if token.type == tokenize.NAME and not attribute:  # `file.tell` is Python's name.
            found.append((token.start[0], token.string.replace("_", " ")))
        elif token.type in kinds:
            found += [(token.start[0] + i, s) for i, s in enumerate(token.string.splitlines())]
        attribute = token.string == "."
    return found


def test_prose_uses_plain_words() -> None:
    """Words and names say encode, store, request; results.md is made from results."""
    pages = [page for page in PAGES if page.name not in ("README.md", "results.md")]
    folders = ("src", "tests", "experiments", "benchmarks")
    modules = [path for name in folders for path in sorted((REPOSITORY / name).rglob("*.py"))]
    modules.remove(Path(__file__).resolve())  # It lists the words.
    found = [
        f"{path.relative_to(REPOSITORY)}:{number}: {hit[0]}"
        for path in [*modules, *pages, REPOSITORY / "CONTRIBUTING.md"]
        for number, line in prose_of(path)
        if (hit := RIDDLES.search(re.sub(r"`[^`]*`", "", line)))
    ]
    assert found == []


def test_sample_is_a_photograph_with_a_licence() -> None:
    folder = resources.files("laconic.pretrained")
    assert "CC0" in (folder / "sample.LICENSE.md").read_text()
    with resources.as_file(folder / "sample.png") as path:
        assert path.stat().st_size < 700_000
        with Image.open(path) as image:
            assert image.mode == "RGB"
            assert min(image.size) >= 400


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_links_between_pages_lead_somewhere(page: Path) -> None:
    targets = re.findall(r"\]\((?!https?:|#|mailto:)([^)#\s]+)", page.read_text())
    assert [target for target in targets if not (page.parent / target).exists()] == []


@pytest.mark.parametrize(
    "page",
    [pytest.param(p, marks=[pytest.mark.slow] * (p.name in SLOW_PAGES)) for p in PAGES],
    ids=lambda page: page.name,
)
def test_examples_run(page: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    blocks = [code for marked, code in FENCE.findall(page.read_text()) if not marked]
    if not blocks:
        pytest.skip("no Python on this page")
    folder = resources.files("laconic.pretrained")
    (tmp_path / "photo.png").write_bytes((folder / "sample.png").read_bytes())
    monkeypatch.chdir(tmp_path)
    namespace: dict[str, object] = {"__name__": page.stem}
    # dataclasses look their module up.
    monkeypatch.setitem(sys.modules, page.stem, type(sys)(page.stem))
    for code in blocks:
        exec(compile(code, str(page), "exec"), namespace)


@pytest.mark.slow
def test_the_site_builds_without_a_warning(tmp_path: Path) -> None:
    done = subprocess.run(
        [sys.executable, "-m", "mkdocs", "build", "--strict", "-q", "-d", str(tmp_path / "site")],
        cwd=REPOSITORY,
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert list((tmp_path / "site" / "experiments").rglob("*.json"))


def _defined(module: Path) -> set[str]:
    """Names that a module's source defines, at any depth, and the modules beside it."""
    names = (
        {path.stem for path in module.parent.iterdir()} if module.name == "__init__.py" else set()
    )
    for node in ast.walk(ast.parse(module.read_text())):
        if isinstance(node, ast.FunctionDef | ast.ClassDef):
            names.add(node.name)
        elif isinstance(node, ast.Import | ast.ImportFrom):
            names |= {(alias.asname or alias.name).partition(".")[0] for alias in node.names}
        elif isinstance(node, ast.Name) and isinstance(node.ctx, ast.Store):
            names.add(node.id)
    return names


def _missing(script: Path, sources: Path) -> Iterator[str]:
    """What a script imports from the package and what is not there."""
    for node in ast.walk(ast.parse(script.read_text())):
        if not isinstance(node, ast.ImportFrom) or str(node.module).partition(".")[0] != "laconic":
            continue
        place = sources.joinpath(*str(node.module).split("."))
        alone = place.with_suffix(".py")
        module = alone if alone.is_file() else place / "__init__.py"
        known = _defined(module) if module.is_file() else set()
        lazy = "__getattr__" in known
        for alias in node.names:
            if alias.name not in known and not lazy:
                yield f"{script.name}:{node.lineno}: {node.module}.{alias.name}"


@pytest.mark.parametrize("folder", ["benchmarks", "experiments", "fuzz"])
def test_scripts_import_what_is_there(folder: str) -> None:
    """Scripts run rarely, so a renamed function would be noticed late."""
    scripts = sorted((REPOSITORY / folder).rglob("*.py"))
    assert scripts
    assert not [text for path in scripts for text in _missing(path, REPOSITORY / "src")]
