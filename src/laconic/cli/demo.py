"""`laconic demo`: the two-minute tour on the embedded sample image."""

import io
import math
import time
from importlib import resources
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from laconic.cli.common import print_json, progress
from laconic.cli.outputs import Force, Writer, make_folder, to_folder
from laconic.cli.tables import table_lines

if TYPE_CHECKING:
    from PIL import Image

QUALITIES = (10, 35, 65)
HEADS = (
    "codec", "quality", "bytes", "bits/pixel", "PSNR dB", "MS-SSIM dB", "encode s", "decode s",
)  # fmt: skip
SHOWN = 0
"""Index of the quality in the side-by-side picture: the smallest, where codecs differ most."""


def demo(
    out: Annotated[
        Path,
        typer.Option(
            "-o", "--out", parser=to_folder, metavar="FOLDER", help="Folder for the results."
        ),
    ] = Path("laconic-demo"),
    force: Force = False,
    as_json: Annotated[bool, typer.Option("--json", help="One JSON object on stdout.")] = False,
) -> None:
    """Compress the sample photograph, decompress it, and compare with JPEG and WebP."""
    result = run_demo(out, Writer(force=force))
    if as_json:
        print_json(result)
        return
    typer.echo(
        f"{result['image']}, {result['width']} x {result['height']}, model {result['model']}\n"
    )
    typer.echo("\n".join(table_lines(HEADS, [_cells(row) for row in result["rows"]])))
    typer.echo(f"\nSide by side: {result['picture']}; the files are in {out}/")


def run_demo(out: Path, writer: Writer) -> dict[str, Any]:
    """Compress the sample at a few qualities, and with JPEG and WebP at the same sizes.

    Args:
        out: folder of the results.
        writer: before the work begins, refuses existing files, unless it may replace them.

    Returns:
        The table as plain values; files and a side-by-side PNG are in the folder `out`.
    """
    import laconic

    files = {quality: out / f"sample-{quality}.lac" for quality in QUALITIES}
    picture = out / "side-by-side.png"
    for path in (*files.values(), picture):
        writer.check(path)
    make_folder(out)
    image = load_sample()
    rows: list[dict[str, Any]] = []
    shown: list[tuple[str, Image.Image]] = [("original", image)]
    with progress("compressing the sample") as tick:
        laconic.decompress(laconic.compress(image.crop((0, 0, 64, 64))))  # compiles the loops
        for index, quality in enumerate(QUALITIES):
            start = time.perf_counter()
            data = laconic.compress(image, quality=quality)
            seconds = time.perf_counter() - start
            writer.write(files[quality], data)
            pictures = [_row("laconic", quality, data, image, seconds, laconic.decompress)]
            pictures += [_same_size(name, image, len(data)) for name in ("JPEG", "WEBP")]
            rows += [row for row, _ in pictures]
            if index == SHOWN:
                shown += [(f"{row['codec']} {row['bytes']:,} bytes", pic) for row, pic in pictures]
            tick(index + 1, len(QUALITIES))
    writer.write(picture, _png(_side_by_side(shown)))
    return {
        "image": "sample",
        "width": image.width,
        "height": image.height,
        "model": laconic.open(data).info.model,
        "rows": rows,
        "picture": str(picture),
    }


def load_sample() -> "Image.Image":
    """The photograph that ships with the package."""
    from laconic.data.images import read_image

    with resources.as_file(resources.files("laconic.pretrained") / "sample.png") as path:
        return read_image(path).convert("RGB")


def _row(
    codec: str, quality: float, data: bytes, image: "Image.Image", seconds: float, decode: Any
) -> "tuple[dict[str, Any], Image.Image]":
    """Decode a file and measure it."""
    import numpy as np

    from laconic.metrics import ms_ssim, ms_ssim_db, psnr

    start = time.perf_counter()
    decoded = decode(data)
    decode_seconds = time.perf_counter() - start
    before, after = np.asarray(image), np.asarray(decoded.convert("RGB"))
    similarity = ms_ssim(before, after)
    row = {
        "codec": codec,
        "quality": quality,
        "bytes": len(data),
        "bpp": 8 * len(data) / (image.width * image.height),
        "psnr": psnr(before, after),
        "ms_ssim": None if math.isnan(similarity) else similarity,
        "ms_ssim_db": None if math.isnan(similarity) else ms_ssim_db(similarity),
        "encode_seconds": seconds,
        "decode_seconds": decode_seconds,
    }
    return row, decoded


def _same_size(name: str, image: "Image.Image", size: int) -> "tuple[dict[str, Any], Image.Image]":
    """The codec's best quality whose file is not larger than `size`, or its smallest file."""
    from PIL import Image

    options: dict[str, Any] = {"optimize": True} if name == "JPEG" else {"method": 6}

    def encode(quality: int) -> bytes:
        buffer = io.BytesIO()
        image.save(buffer, name, quality=quality, **options)
        return buffer.getvalue()

    low, high = 0 if name == "WEBP" else 1, 95
    while low < high:
        middle = (low + high + 1) // 2
        low, high = (middle, high) if len(encode(middle)) <= size else (low, middle - 1)
    start = time.perf_counter()
    data = encode(low)
    seconds = time.perf_counter() - start

    def decode(data: bytes) -> Image.Image:
        return Image.open(io.BytesIO(data)).convert("RGB")

    return _row({"JPEG": "jpeg", "WEBP": "webp"}[name], low, data, image, seconds, decode)


def _side_by_side(pictures: "list[tuple[str, Image.Image]]") -> "Image.Image":
    """The pictures two by two, each under its title."""
    from PIL import Image, ImageDraw, ImageFont

    font = ImageFont.load_default(18)
    width, height = pictures[0][1].size
    bar = 28
    sheet = Image.new("RGB", (2 * width + 12, 2 * (height + bar) + 12), "white")
    draw = ImageDraw.Draw(sheet)
    for index, (title, picture) in enumerate(pictures):
        left, top = (index % 2) * (width + 12), (index // 2) * (height + bar + 12)
        draw.text((left + 6, top + 3), title, fill="black", font=font)
        sheet.paste(picture.convert("RGB"), (left, top + bar))
    return sheet


def _png(image: "Image.Image") -> bytes:
    buffer = io.BytesIO()
    image.save(buffer, "PNG", optimize=True)
    return buffer.getvalue()


def _cells(row: dict[str, Any]) -> list[str]:
    """A row of the table as text; NaN where a figure is missing."""
    similarity = row["ms_ssim_db"]
    return [
        row["codec"],
        f"{row['quality']:g}",
        f"{row['bytes']:,}",
        f"{row['bpp']:.3f}",
        f"{row['psnr']:.2f}",
        "nan" if similarity is None else f"{similarity:.2f}",
        f"{row['encode_seconds']:.2f}",
        f"{row['decode_seconds']:.2f}",
    ]
