"""The second decoder beside this one, with the embedded models, on a part of the sample picture."""

import json
from importlib import resources

import numpy as np
import pytest
from laconic_decoder.container import open_lac
from laconic_decoder.image import decode_image
from laconic_decoder.lossless import decode_lossless
from laconic_decoder.models import make_model
from PIL import Image

import laconic
from laconic import pretrained
from laconic.codecs.lossless.codec import Core, LosslessCodec
from laconic.codecs.lossless.file import make_coder
from laconic.codecs.network.file import NetworkFile


@pytest.fixture(scope="module")
def sample() -> Image.Image:
    source = resources.files("laconic.pretrained") / "sample.png"
    with resources.as_file(source) as path, Image.open(path) as image:
        return image.crop((200, 100, 200 + 90, 100 + 70))


def find_model(name: str, fingerprint: bytes) -> object:
    """An embedded model with the weights that the main package has read."""
    loaded = pretrained.load(name)
    assert loaded.fingerprint[:8] == fingerprint
    weights = {key: value.numpy() for key, value in loaded.model.state_dict().items()}
    packed = (resources.files("laconic.pretrained") / f"{name}.lac").read_bytes()
    notes = NetworkFile.read(packed).metadata
    return make_model(json.loads(notes["meta"])["model"], weights)


@pytest.mark.slow
@pytest.mark.parametrize(("model", "quality"), [("photo2", 10), ("photo2", 90), ("default", 50)])
def test_lossy_pictures_differ_by_one_level_at_most(
    sample: Image.Image, model: str, quality: int
) -> None:
    data = laconic.compress(sample, quality=quality, model=model)
    ours, other = laconic.decompress(data), decode_image(open_lac(data), find_model)
    difference = np.abs(np.asarray(ours).astype(int) - np.asarray(other).astype(int))
    assert difference.max() <= 1
    assert (difference > 0).mean() < 0.01


@pytest.mark.slow
@pytest.mark.parametrize("with_model", [True, False])
def test_lossless_pictures_are_equal(sample: Image.Image, with_model: bool) -> None:
    picture = sample.crop((0, 0, 40, 30))
    if with_model:
        loaded = pretrained.load("pixels2")
        core = Core(make_coder(loaded.model), loaded.name, loaded.fingerprint)
        data = LosslessCodec(core).encode(picture)
    else:
        data = laconic.compress(picture, lossless=True)
    assert open_lac(data).header.data[0] == (1 if with_model else 2)
    (other,) = decode_lossless(open_lac(data), find_model)
    assert np.array_equal(np.asarray(other.image), np.asarray(laconic.decompress(data)))
