"""docs/format.md says what the code does."""

import re
from pathlib import Path

from laconic.codecs import header, tiles
from laconic.container import WORDS
from laconic.container.file import MAX_HEADER_BYTES, MAX_SECTIONS, VERSION


def test_words_and_limits(repository: Path) -> None:
    page = (repository / "docs" / "format.md").read_text()
    table = re.findall(r"^\| (\d+) \| (.+) \|$", page.split("## Words")[1], re.MULTILINE)
    assert table == [(str(k + 1), word) for k, word in enumerate(WORDS)]
    assert f"Format {VERSION}." in page
    assert f"Revision {header.REVISION}," in page
    assert (MAX_HEADER_BYTES, MAX_SECTIONS) == (2**20, 2**14)
    assert (tiles.MAX_SIDE, tiles.MAX_PIXELS, tiles.MAX_TILE_PIXELS) == (65536, 2**28, 2**22)
