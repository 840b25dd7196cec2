"""docs/format.md says what the code does."""

import re
from pathlib import Path

from laconic.codecs.image import header, tiles
from laconic.codecs.lossless import file as lossless_file
from laconic.codecs.lossless import grid, names
from laconic.codecs.lossless import header as lossless_header
from laconic.container import WORDS
from laconic.container.file import MAX_HEADER_BYTES, MAX_SECTIONS, VERSION


def test_words_and_limits(repository: Path) -> None:
    page = (repository / "docs" / "format.md").read_text()
    table = re.findall(r"^\| (\d+) \| (.+) \|$", page.split("## Words")[1], re.MULTILINE)
    assert table == [(str(k + 1), word) for k, word in enumerate(WORDS)]
    assert f"Format {VERSION}." in page
    assert f"Revision {header.REVISION}," in page
    assert (MAX_HEADER_BYTES, MAX_SECTIONS) == (2**25, 2**21)
    assert (tiles.MAX_SIDE, tiles.MAX_PIXELS, tiles.MAX_TILE_PIXELS) == (65536, 2**28, 2**22)


def test_lossless_limits(repository: Path) -> None:
    page = (repository / "docs" / "format.md").read_text().split("## Lossless")[1]
    assert f"revision {lossless_header.REVISION}:" in page
    assert (lossless_header.MAX_PICTURES, lossless_header.MAX_BUNDLES) == (2**22, 2**18)
    assert (lossless_header.MAX_RUN_SAMPLES, grid.MAX_TILES) == (2**26, 2**16)
    assert (lossless_file.MAX_MANIFEST_BYTES, lossless_file.MAX_PROFILE_BYTES) == (2**28, 2**26)
    assert (names.MAX_NAME_BYTES, names.MAX_TOTAL_BYTES) == (2**12, 2**27)
