"""Pictures for the page's sliders: the original, ours, and a classical codec at the same size."""

import io
import math
from collections.abc import Callable, Collection, Sequence
from pathlib import Path

from PIL import Image

from laconic.data.folders import list_images, load_rgb
from laconic.evaluation.anchors.classical import Anchor, Codec
from laconic.evaluation.images.results import Curve
from laconic.evaluation.report.page import Comparison, Version
from laconic.metrics import ms_ssim, ms_ssim_db, psnr
from laconic.metrics.images import Image8
from laconic.progress import Progress, silent

DISPLAY_QUALITY = 95
"""WebP quality of pictures on the page whose own format no browser can show."""


def setting_near(curve: Curve, bpp: float) -> float:
    """The measured setting whose mean rate is nearest to the requested one."""
    return min(curve.points, key=lambda point: abs(point.mean("bpp") - bpp)).setting


def make_gallery(
    codec: Codec,
    setting: float,
    folder: Path,
    anchors: Sequence[Anchor],
    tick: Callable[[], None] = lambda: None,
    leave_out: Collection[str] = (),
) -> list[Comparison]:
    """One comparison per picture of a folder.

    Args:
        codec: our codec.
        setting: its setting.
        folder: a folder of pictures, or one picture.
        anchors: codecs to show at the same file size; formats that browsers cannot show are
            converted to WebP, like ours.
        tick: called after every picture.
        leave_out: names of files that cannot be read.
    """
    gallery = []
    for path in list_images(folder):
        if path.name in leave_out:
            continue
        gallery.append(compare_picture(codec, setting, path.stem, load_rgb(path), anchors))
        tick()
    return gallery


def compare_picture(
    codec: Codec, setting: float, name: str, pixels: Image8, anchors: Sequence[Anchor]
) -> Comparison:
    """One picture, uint8 `(height, width, 3)`, by our codec and by others at the same file size."""
    data = codec.encode(pixels, setting)
    shown = codec.decode(data)
    others = [Version("Original", "image/webp", _webp(pixels))]
    captions = [_caption(codec.label, data, pixels, shown)]
    for anchor in anchors:
        file = nearest_file(anchor, pixels, len(data))
        decoded = anchor.decode(file)
        kind = anchor.media_type or "image/webp"
        visible = file if anchor.media_type else _webp(decoded)
        others.append(Version(f"{anchor.label}, same size", kind, visible))
        captions.append(_caption(anchor.label, file, pixels, decoded))
    height, width, _ = pixels.shape
    ours = Version(codec.label, "image/webp", _webp(shown))
    return Comparison(name, width, height, ours, tuple(others), "; ".join(captions))


def nearest_file(
    anchor: Anchor, pixels: Image8, size: int, highest: int = 95, progress: Progress = silent
) -> bytes:
    """The file of the anchor whose size is nearest, over whole qualities, by bisection.

    If the setting is bits per pixel, it is the file at the requested rate.

    Args:
        anchor: a codec whose files grow with its setting.
        pixels: uint8 `(height, width, 3)`.
        size: requested size in bytes.
        highest: the largest quality to try.
        progress: called before each file with their number so far and the number expected.
    """
    if anchor.setting_is_bpp:
        return anchor.encode(pixels, 8 * size / (pixels.shape[0] * pixels.shape[1]))
    low, high = 1, highest
    candidates = [anchor.encode(pixels, low), anchor.encode(pixels, high)]
    while high - low > 1:
        progress(len(candidates), 2 + highest.bit_length())
        middle = (low + high) // 2
        candidates.append(anchor.encode(pixels, middle))
        if len(candidates[-1]) <= size:
            low = middle
        else:
            high = middle
    return min(candidates, key=lambda data: abs(len(data) - size))


def _webp(pixels: Image8) -> bytes:
    buffer = io.BytesIO()
    Image.fromarray(pixels).save(buffer, format="WEBP", quality=DISPLAY_QUALITY, method=4)
    return buffer.getvalue()


def _caption(label: str, data: bytes, pixels: Image8, shown: Image8) -> str:
    """Size and quality in words."""
    bpp = 8 * len(data) / (pixels.shape[0] * pixels.shape[1])
    similarity = ms_ssim(pixels, shown)
    tail = f", {ms_ssim_db(similarity):.1f} dB MS-SSIM" if not math.isnan(similarity) else ""
    return f"{label} {len(data):,} bytes ({bpp:.3f} bpp), {psnr(pixels, shown):.2f} dB{tail}"
