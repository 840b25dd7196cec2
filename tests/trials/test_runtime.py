"""Trials of the library as it runs: installations, processes, threads, arguments, lists."""

import io
import multiprocessing
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image, features
from safetensors.torch import save
from typer.testing import CliRunner, Result

import laconic
import laconic.cli.evaluate
from laconic import pretrained, waiting
from laconic.cli import app, main
from laconic.cli.lists import split_list
from laconic.codecs.image.codec import ImageCodec
from laconic.codecs.lossless.core import GroupCoder
from laconic.coding.relative_entropy import CODERS
from laconic.evaluation.anchors.classical import ANCHORS
from laconic.evaluation.images.ours import OurCodec
from laconic.models.pyramid import Pyramid


@pytest.fixture
def _small_models(
    monkeypatch: pytest.MonkeyPatch, make_stand_in: Callable[..., GroupCoder]
) -> None:
    """Models without weights, so that a call takes milliseconds."""
    small = pretrained.Pretrained(Pyramid(), "pyramid", b"pyramid, sixteen", 0)
    monkeypatch.setattr(pretrained, "load", lambda name=pretrained.DEFAULT: small)
    monkeypatch.setattr(
        "laconic.codecs.lossless.file.make_coder", lambda model, threads=None: make_stand_in(2)
    )


@pytest.fixture
def image() -> Image.Image:
    """A small picture in colour."""
    return Image.fromarray(
        np.arange(40 * 32 * 3, dtype=np.uint16).astype(np.uint8).reshape(40, 32, 3)
    )


class Link:
    """A path as other libraries have them: `os.PathLike`, neither text nor `pathlib.Path`."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __fspath__(self) -> str:
        return str(self.path)


@pytest.mark.usefixtures("_small_models")
def test_line_15_quality_and_bpp_together_are_refused(image: Image.Image, tmp_path: Path) -> None:
    """Neither is ignored; Pillow's `save` refuses them as well, and writes nothing."""
    with pytest.raises(laconic.InputError, match="quality or bpp, not both"):
        laconic.compress(image, quality=30, bpp=0.5)
    with pytest.raises(laconic.InputError, match="quality or bpp, not both"):
        image.save(tmp_path / "a.lac", quality=30, bpp=0.5)
    assert not (tmp_path / "a.lac").exists()


@pytest.mark.slow
def test_line_17_a_read_only_installation_without_a_home_works(
    repository: Path, tmp_path: Path
) -> None:
    """Folders named `__pycache__` cannot be made (not even by root), nor one for the user."""
    room = tmp_path / "laconic" / "coding"
    room.mkdir(parents=True)
    for name in ("compiled.py", "waiting.py", "coding/random.py", "coding/__init__.py"):
        shutil.copy(repository / "src" / "laconic" / name, room.parent / name)
    (tmp_path / "laconic" / "__init__.py").touch()
    (room / "__pycache__").touch()
    (tmp_path / "laconic" / "__pycache__").touch()
    before = sorted(tmp_path.rglob("*"))

    kept = {k: v for k, v in os.environ.items() if k not in ("NUMBA_CACHE_DIR", "XDG_CACHE_HOME")}
    run = subprocess.run(
        [
            sys.executable,
            "-c",
            "from laconic.coding.random import word_at; print(word_at(1, 2, 3))",
        ],
        env=kept | {"PYTHONPATH": str(tmp_path), "HOME": os.devnull},
        cwd=tmp_path,
        capture_output=True,
        text=True,
        check=True,
    )
    assert (run.stdout, run.stderr) == ("168492509\n", "")
    assert sorted(tmp_path.rglob("*")) == before


@pytest.mark.slow
@pytest.mark.usefixtures("_small_models")
@pytest.mark.parametrize("lossless", [False, True])
def test_line_19_pictures_are_taken_in_every_form(
    image: Image.Image, tmp_path: Path, lossless: bool
) -> None:
    """Paths of every kind, bytes, files, arrays and tensors give the same file."""
    path = tmp_path / "a.png"
    image.save(path)
    data = path.read_bytes()
    expected = laconic.compress(image, lossless=lossless)
    pixels = np.asarray(image).copy()
    forms = [path, str(path), Link(path), data, bytearray(data), memoryview(data), pixels]
    forms += [io.BytesIO(data), torch.from_numpy(pixels)]
    assert all(laconic.compress(form, lossless=lossless) == expected for form in forms)
    with path.open("rb") as file:
        assert laconic.compress(file, lossless=lossless) == expected


@pytest.mark.usefixtures("_small_models")
def test_line_19_files_are_taken_in_every_form(image: Image.Image, tmp_path: Path) -> None:
    """By each function that reads one; pictures in every form also by `archive`."""
    path = tmp_path / "file"
    image.save(tmp_path / "a.png")
    tensors = {"w": torch.arange(6000.0).reshape(60, 100)}

    def forms(data: bytes) -> list[laconic.arguments.Source]:
        path.write_bytes(data)
        return [path, str(path), Link(path), data, bytearray(data), io.BytesIO(data)]

    picture = laconic.compress(image)
    pixels = np.asarray(laconic.decompress(picture))
    assert all((np.asarray(laconic.decompress(form)) == pixels).all() for form in forms(picture))
    assert all(laconic.open(form).info.width == 32 for form in forms(picture))
    archive = laconic.archive({"b.png": image, "c.png": (tmp_path / "a.png").read_bytes()})
    tensor = torch.from_numpy(np.array(image))
    assert archive == laconic.archive({"b.png": Link(tmp_path / "a.png"), "c.png": tensor})
    for form in forms(archive):
        assert [name for name, _ in laconic.unarchive(form)] == ["b.png", "c.png"]
    for form in forms(laconic.shrink(tensors, lossless=True)):
        assert (laconic.expand(form)["w"] == tensors["w"]).all()
    weights = save(tensors, {"author": "me"})
    path.write_bytes(weights)
    expected = laconic.shrink(path)
    assert all(laconic.shrink(form) == expected for form in forms(weights))


@pytest.mark.usefixtures("_small_models")
@pytest.mark.parametrize(
    "wrong", [None, 5, 1.5, object(), [], {}, io.StringIO("text"), torch.nn.Linear(2, 2)]
)
def test_line_19_anything_else_is_an_input_error(wrong: object) -> None:
    """Never an `AttributeError` or `TypeError` from within."""
    calls: list[Callable[[object], object]] = [
        laconic.compress,
        lambda given: laconic.compress(given, lossless=True),
        laconic.decompress,
        laconic.open,
        laconic.unarchive,
        laconic.expand,
        lambda given: laconic.archive([given]),
        lambda given: laconic.archive({"a.png": given}),
    ]
    if not isinstance(wrong, torch.nn.Module | dict):
        calls.append(laconic.shrink)
    calls.append(laconic.archive)
    for call in calls:
        with pytest.raises(laconic.InputError):
            call(wrong)


@pytest.mark.usefixtures("_small_models")
def test_line_19_damaged_bytes_and_closed_files_are_named(image: Image.Image) -> None:
    """Messages say which argument, and what to do."""
    for lossless in (False, True):
        with pytest.raises(laconic.InputError, match="image given as bytes is not an image"):
            laconic.compress(b"no picture", lossless=lossless)
        with pytest.raises(laconic.InputError, match="image given as bytes is empty"):
            laconic.compress(b"", lossless=lossless)
    closed = io.BytesIO(b"")
    closed.close()
    with pytest.raises(laconic.InputError, match="given as source: I/O operation on closed file"):
        laconic.decompress(closed)
    with pytest.raises(laconic.InputError, match="mode 'rb'"):
        laconic.decompress(io.StringIO("text"))  # type: ignore[arg-type]
    with pytest.raises(laconic.InputError, match=r"tensor.permute\(1, 2, 0\) has this order"):
        laconic.compress(torch.zeros(3, 40, 32, dtype=torch.uint8))
    with pytest.raises(laconic.InputError, match="not a path"):
        laconic.decompress("a\0b")
    with pytest.raises(
        laconic.InputError, match="cannot read the bytes given as a safetensors file"
    ):
        laconic.shrink(b"no weights")


@pytest.mark.usefixtures("_small_models")
@pytest.mark.parametrize("threads", [-1, 0, 1.5, "2", True])
def test_line_19_threads_are_a_whole_number_of_at_least_one(
    image: Image.Image, threads: object
) -> None:
    """In every function that has them."""
    data = laconic.compress(image)
    for call in (
        lambda: laconic.compress(image, threads=threads),
        lambda: laconic.compress(image, lossless=True, threads=threads),
        lambda: laconic.decompress(data, threads=threads),
        lambda: laconic.archive([image], threads=threads),
        lambda: laconic.unarchive(laconic.archive([image]), threads=threads),
    ):
        with pytest.raises(laconic.InputError, match="threads is"):
            call()


@pytest.mark.usefixtures("_small_models")
@pytest.mark.parametrize("number", ["50", True, [50]])
def test_line_19_numbers_are_numbers(image: Image.Image, number: object) -> None:
    """Texts are no numbers."""
    for options in ({"quality": number}, {"bpp": number}):
        with pytest.raises(laconic.InputError, match="give a number"):
            laconic.compress(image, **options)
    for options in ({"bits_per_weight": number}, {"step_scale": number}):
        with pytest.raises(laconic.InputError, match="give a number"):
            laconic.shrink({"w": torch.zeros(3)}, **options)


@pytest.mark.slow
@pytest.mark.usefixtures("_small_models")
@pytest.mark.filterwarnings("ignore:This process:DeprecationWarning")
def test_line_18_forked_children_work_after_a_call_in_the_parent() -> None:
    """Pictures, weights and torch itself, whose threads the parent has used as well."""
    picture = np.arange(256 * 384 * 3, dtype=np.uint32).astype(np.uint8).reshape(256, 384, 3)
    tensors = {"w": torch.arange(60000.0).reshape(200, 300).sin()}

    def call() -> tuple[bytes, bytes, bytes, bool]:
        lossy = laconic.compress(picture, coder="importance", threads=2)
        exact = laconic.compress(picture, lossless=True, threads=2)
        weights = laconic.shrink(tensors, lossless=True)
        laconic.decompress(lossy, threads=2)
        laconic.expand(weights)
        finite = torch.ones(1 << 20).exp().isfinite().all()
        return lossy, exact, weights, bool(finite)

    before = torch.get_num_threads()
    torch.set_num_threads(2)
    expected = call()
    torch.set_num_threads(before)
    fork = multiprocessing.get_context("fork")
    receiver, sender = fork.Pipe(duplex=False)
    child = fork.Process(target=lambda: sender.send(call()), daemon=True)
    child.start()
    try:
        assert receiver.poll(120), "the child hangs"
        assert receiver.recv() == expected
    finally:
        child.kill()
        child.join()
        receiver.close()
        sender.close()


@pytest.mark.usefixtures("_small_models")
@pytest.mark.parametrize("threads", [1, None])
def test_line_29_networks_use_no_thread_that_spins(
    monkeypatch: pytest.MonkeyPatch, image: Image.Image, threads: int | None
) -> None:
    """One thread of torch where its threads spin while they wait, all where they sleep."""
    seen = []
    likelihood = Pyramid.likelihood

    def watched(self: Pyramid, *arguments: object) -> object:
        seen.append(torch.get_num_threads())
        return likelihood(self, *arguments)

    monkeypatch.setattr(Pyramid, "likelihood", watched)
    before = torch.get_num_threads()
    torch.set_num_threads(2)
    try:
        data = laconic.compress(image)
        for policy in ("active", "passive"):
            monkeypatch.setenv("OMP_WAIT_POLICY", policy)
            laconic.decompress(data, threads=threads)
    finally:
        torch.set_num_threads(before)
    assert seen == [1, 1 if threads == 1 else 2]


def test_line_29_the_command_line_lets_threads_sleep(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Before torch is loaded, and only where the user has not chosen."""
    for name in waiting.VARIABLES:
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setattr(sys, "argv", ["laconic", "--version"])
    with pytest.raises(SystemExit):
        main()
    assert os.environ["OMP_WAIT_POLICY"] == "passive"
    monkeypatch.setenv("OMP_WAIT_POLICY", "active")
    with pytest.raises(SystemExit):
        main()
    assert os.environ["OMP_WAIT_POLICY"] == "active"
    assert capsys.readouterr().out.count("laconic") == 2


@pytest.mark.parametrize("command", ["compress", "evaluate", "bench"])
def test_line_25_coder_help_lists_the_table(command: str) -> None:
    """All coders, no other argument needed; the option's own help names the way there."""
    got = CliRunner().invoke(app, [command, "--coder", "help"])
    assert got.exit_code == 0, got.output
    assert [line.split()[0] for line in got.stdout.splitlines()] == [*CODERS, "is-gs"]
    assert all(len(line.split()) > 2 for line in got.stdout.splitlines())
    assert "--coder help" in CliRunner().invoke(app, [command, "--help"]).stdout


@pytest.mark.slow
def test_line_25_the_help_loads_no_heavy_package() -> None:
    """`--help` does not read the table of coders."""
    code = (
        "import sys; from laconic.cli import main; sys.argv = ['laconic', 'compress', '--help']\n"
        "try: main()\n"
        "except SystemExit: sys.exit('torch' in sys.modules or 'numba' in sys.modules)"
    )
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, check=False)
    assert run.returncode == 0


@pytest.fixture
def evaluate(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Callable[..., Result]:
    """`laconic evaluate` on one picture, with a model without weights."""
    codec = OurCodec(ImageCodec(Pyramid(), "pyramid", b"pyramid, sixteen", coder="importance"))
    monkeypatch.setattr(laconic.cli.evaluate, "make_codec", lambda coder: codec)
    rows, columns = np.mgrid[:64, :96]
    pixels = np.stack([rows * 4, columns * 2, (rows * columns) % 256], -1).astype(np.uint8)
    Image.fromarray(pixels).save(tmp_path / "a.png")

    def call(*options: str) -> Result:
        return CliRunner().invoke(app, ["evaluate", str(tmp_path / "a.png"), *options])

    return call


@pytest.mark.parametrize(
    "options",
    [
        ("--quality", "20", "--quality", "50", "--quality", "80"),
        ("--quality", "20,50,80"),
        ("--quality", "20, 50", "--quality", "80,20"),
    ],
)
def test_line_31_repeated_and_comma_separated_qualities(
    evaluate: Callable[..., Result], options: tuple[str, ...]
) -> None:
    """All are measured, each once."""
    got = evaluate(*options, "--against", "none")
    assert got.exit_code == 0, got.output
    settings = [line.split()[1] for line in got.stdout.splitlines()[1:]]
    assert settings == ["20", "50", "80"]


def test_line_31_other_lists_take_both_forms() -> None:
    """`--against`, `--coder`, `--section`, `--betas` and `--tolerance` are read by one function."""
    assert split_list(["a", "b,c", " d , ", ""]) == ["a", "b", "c", "d"]
    got = CliRunner().invoke(app, ["bench", "rec", "--coder", "greedy,nonsense"])
    assert got.exit_code == 1
    assert "no coder is named 'nonsense'" in got.stderr


def test_line_31_too_few_points_are_said(evaluate: Callable[..., Result]) -> None:
    """No "nan", but how many points a curve needs, or what it lacks."""
    got = evaluate("--quality", "50", "--against", "jpeg", "--against", "webp")
    assert got.exit_code == 0, got.output
    lines = [line for line in got.stdout.splitlines() if line.startswith("BD-rate")]
    assert [line.split()[2] for line in lines] == ["jpeg", "jpeg", "webp", "webp"]
    assert "none, since laconic has 1 point that no cheaper one equals, 2 or more" in lines[0]
    assert "has no point with a finite value" in lines[1]  # MS-SSIM of so small a picture.
    assert not any("nan" in line for line in lines)


@pytest.mark.slow
def test_line_31_the_page_shows_every_codec_that_was_requested(
    evaluate: Callable[..., Result], tmp_path: Path
) -> None:
    """AVIF as its very file, JPEG 2000, which browsers cannot show, through WebP."""
    page = tmp_path / "page.html"
    names = [name for name in ("jpeg", "webp", "avif", "jpeg2000") if can_write(name)]
    got = evaluate("--quality", "20,80", "--against", ",".join(names), "--html", str(page))
    assert got.exit_code == 0, got.output
    text = page.read_text()
    for name in names:
        label, kind = ANCHORS[name].label, ANCHORS[name].media_type or "image/webp"
        assert re.search(rf'src="data:{kind};base64,[^"]*" alt="a: {label}, same size"', text)


def can_write(name: str) -> bool:
    """Whether Pillow was built with this codec."""
    return not ANCHORS[name].feature or bool(features.check(ANCHORS[name].feature))
