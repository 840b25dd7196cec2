"""What `import laconic` offers, with the ladder without weights as its model."""

import importlib.metadata
import io
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

import laconic
from laconic import pretrained
from laconic.models.pyramid import Pyramid


@pytest.fixture(autouse=True)
def _pyramid(monkeypatch: pytest.MonkeyPatch) -> None:
    def load(name: object = "default") -> pretrained.Pretrained:
        if name not in ("default", "pyramid"):
            raise laconic.ConfigError(f"{name}: no such model")
        return pretrained.Pretrained(Pyramid(), "pyramid", b"pyramid, sixteen", 0)

    monkeypatch.setattr(pretrained, "load", load)


@pytest.fixture
def image() -> Image.Image:
    return Image.fromarray(
        np.arange(40 * 32 * 3, dtype=np.uint16).astype(np.uint8).reshape(40, 32, 3)
    )


def test_sources_and_results(image: Image.Image, tmp_path: Path) -> None:
    image.save(tmp_path / "a.png")
    data = laconic.compress(image)
    assert data == laconic.compress(np.asarray(image)) == laconic.compress(tmp_path / "a.png")
    assert data == laconic.compress(str(tmp_path / "a.png"), quality=50)
    (tmp_path / "a.lac").write_bytes(data)
    pixels = np.asarray(laconic.decompress(data))
    assert (np.asarray(laconic.decompress(tmp_path / "a.lac")) == pixels).all()
    opened = laconic.open(tmp_path / "a.lac")
    assert opened.info.file_bits == 8 * len(data)
    assert (np.asarray(opened.image) == pixels).all()
    assert "32x40" in repr(opened)


def test_pillow_opens_and_saves(image: Image.Image, tmp_path: Path) -> None:
    image.save(tmp_path / "a.lac", quality=70)
    with Image.open(tmp_path / "a.lac") as found:
        assert (found.format, found.size, found.mode) == ("LACONIC", (32, 40), "RGB")
        assert found.info["laconic"].quality == pytest.approx(70, abs=0.05)
        pixels = np.asarray(found.convert("RGB"))
    assert (pixels == np.asarray(laconic.decompress(tmp_path / "a.lac"))).all()
    buffer = io.BytesIO()
    image.save(buffer, "LACONIC", bpp=2.0)
    assert 8 * len(buffer.getvalue()) <= 2.0 * 32 * 40
    damaged = (tmp_path / "a.lac").read_bytes()[:-3]
    with pytest.raises(laconic.CorruptFileError, match="truncated"):
        Image.open(io.BytesIO(damaged))


def test_names_are_exact() -> None:
    assert set(laconic.__all__) <= set(dir(laconic))
    assert len(set(laconic.__all__)) == len(laconic.__all__)
    assert laconic.__version__ == importlib.metadata.version("laconic")


def test_missing_model_is_said(image: Image.Image, monkeypatch: pytest.MonkeyPatch) -> None:
    data = laconic.compress(image)

    def load(name: object) -> None:
        raise laconic.ConfigError(f"{name}: no such model")

    monkeypatch.setattr(pretrained, "load", load)
    with pytest.raises(laconic.UnsupportedFileError, match="'pyramid'"):
        laconic.decompress(data)
    with pytest.raises(laconic.ConfigError):
        laconic.decompress(data, model="other")


def test_hostile_model_names_are_not_looked_up(image: Image.Image) -> None:
    from laconic.codecs.image import ImageCodec

    for name in ("../../etc/weights", "a.safetensors", ""):
        data = ImageCodec(Pyramid(), name, b"pyramid,").encode(image)
        with pytest.raises(laconic.UnsupportedFileError, match="no embedded model"):
            laconic.decompress(data)


def test_import_is_light() -> None:
    code = "import sys, laconic; sys.exit('torch' in sys.modules or 'numpy' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
