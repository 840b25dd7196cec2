"""A worker without torch, for tests of everything around it: its files are JPEG files.

`effort` is the time that its work takes, in quarters of a second; from 8 on a minute.
"""

import io
import sys
import time
import types
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from PIL import Image, ImageFilter, UnidentifiedImageError

from laconic.errors import InputError
from laconic.studio.frames import Message
from laconic.studio.worker import main

Request, Blobs, Tick = Mapping[str, Any], Sequence[bytes], Callable[[int, int], None]
LEVELS = 4
QUALITIES = {"jpeg": 30, "webp": 60, "avif": 90}


def saved(image: Image.Image, kind: str, **options: object) -> bytes:
    buffer = io.BytesIO()
    image.save(buffer, kind, **options)
    return buffer.getvalue()


def opened(data: bytes) -> Image.Image:
    try:
        return Image.open(io.BytesIO(data)).convert("RGB")
    except UnidentifiedImageError as error:
        raise InputError("this file is not an image in a known format") from error


def facts_of(image: Image.Image, size: int) -> dict[str, Any]:
    width, height = image.size
    levels = [{"bits": 8 * size // LEVELS, "bytes": size * k // LEVELS} for k in range(1, 5)]
    facts = {"width": width, "height": height, "bytes": size, "bpp": 8 * size / (width * height)}
    return facts | {"psnr": 30.0 + size % 7, "ms_ssim": 0.9, "exact": False, "levels": levels}


def describe(setup: Any, request: Request, blobs: Blobs, tick: Tick) -> Message:
    facts = {"model": "stub", "levels": LEVELS, "version": "0", "anchors": list(QUALITIES)}
    return Message(facts | {"tunes": ["psnr", "balanced", "ms-ssim"], "tune": "balanced"})


def read(setup: Any, request: Request, blobs: Blobs, tick: Tick) -> Message:
    data = blobs[0]
    if data == b"fault":
        raise ZeroDivisionError
    image = opened(data)
    shown = saved(image, "PNG")
    if data.startswith(b"\xff\xd8"):  # One of our own files.
        facts = facts_of(image, len(data)) | {"psnr": None, "ms_ssim": None}
        return Message(facts | {"kind": "lac", "notes": [], "files": ["shown"]}, (shown,))
    facts = {"width": image.width, "height": image.height, "bytes": len(data)}
    return Message(facts | {"kind": "picture", "notes": [], "files": ["shown"]}, (shown,))


def encode(setup: Any, request: Request, blobs: Blobs, tick: Tick) -> Message:
    image, effort = opened(blobs[0]), request["effort"]
    start, seconds = time.monotonic(), effort / 4 if effort < 8 else 60
    while (passed := time.monotonic() - start) < seconds:
        tick(round(100 * passed), round(100 * seconds))
        time.sleep(0.01)
    if request.get("bpp") == 1:  # Hangs.
        tick(1, 100)
        time.sleep(600)
    quality = int(request.get("quality") or 20 * request.get("bpp", 4))
    tastes = {"psnr": "4:2:0", "balanced": "4:2:2", "ms-ssim": "4:4:4"}
    taste = tastes[request.get("tune") or "balanced"]
    file = saved(image, "JPEG", quality=quality, subsampling=taste)
    facts = facts_of(image, len(file)) | {"encode_seconds": passed, "decode_seconds": 0.0}
    if request["lossless"]:
        facts |= {"psnr": None, "ms_ssim": None, "exact": True, "levels": []}
    facts |= {"notes": ["a note"] if effort else [], "quality": quality}
    return Message(facts | {"files": ["file", "shown"]}, (file, saved(opened(file), "PNG")))


def level(setup: Any, request: Request, blobs: Blobs, tick: Tick) -> Message:
    image = opened(blobs[0]).filter(ImageFilter.GaussianBlur(LEVELS - request["level"]))
    return Message({"level": request["level"], "files": ["shown"]}, (saved(image, "PNG"),))


def bits(setup: Any, request: Request, blobs: Blobs, tick: Tick) -> Message:
    image = Image.linear_gradient("L").resize(opened(blobs[0]).size)
    peak = 4.0 / (request["level"] or 1)
    return Message({"peak": peak, "files": ["shown"]}, (saved(image, "PNG"),))


def compare(setup: Any, request: Request, blobs: Blobs, tick: Tick) -> Message:
    image = opened(blobs[0])
    file = saved(image, "JPEG", quality=QUALITIES[request["name"]])
    facts = facts_of(image, request["bytes"] + 1)
    return Message(facts | {"files": ["shown"]}, (saved(opened(file), "PNG"),))


if __name__ == "__main__":
    tasks: Any = types.ModuleType("laconic.studio.tasks")
    tasks.Setup, tasks.TASKS = (
        dict,
        {
            "describe": describe,
            "read": read,
            "encode": encode,
            "level": level,
            "bits": bits,
            "compare": compare,
        },
    )
    sys.modules[tasks.__name__] = tasks
    main()
