"""Tables of text: with rules on a terminal, plain columns in a file or a pipe."""

import io
import re
import sys
from collections.abc import Sequence
from typing import Final

NUMBER: Final = re.compile(r"[-+−]?[\d,.]+ ?(%|MB)?|–|nan|")
"""Matches cells that are aligned to the right."""

PLAIN_WIDTH: Final = 100_000
"""Columns of a plain table, so that no cell is broken into lines."""


def table_lines(heads: Sequence[str], rows: Sequence[Sequence[str]]) -> list[str]:
    """The lines of a table; nothing in it is cut off.

    Where stdout is a terminal, the table has rules and fits the terminal's width: long cells take
    several lines. Elsewhere each row is one line of columns with spaces between them.

    Args:
        heads: of the columns. A column of numbers is aligned to the right.
        rows: the cells, as many in each row as there are heads.
    """
    from rich import box
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    terminal = sys.stdout.isatty()
    gaps = (0, 1) if terminal else (0, 2, 0, 0)
    table = Table(box=box.SIMPLE_HEAD if terminal else None, pad_edge=False, padding=gaps)
    for index, head in enumerate(heads):
        is_number = all(NUMBER.fullmatch(row[index]) for row in rows)
        table.add_column(Text(head), justify="right" if is_number else "left", overflow="fold")
    for row in rows:
        table.add_row(*map(Text, row))
    out = io.StringIO()
    width = None if terminal else PLAIN_WIDTH
    console = Console(file=out, width=width, force_terminal=terminal, color_system=None)
    console.print(table, crop=False)
    return [line.rstrip() for line in out.getvalue().splitlines() if line.strip()]
