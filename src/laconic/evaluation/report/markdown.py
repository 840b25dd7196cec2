"""Tables in Markdown."""

from collections.abc import Sequence


def markdown_table(head: Sequence[str], rows: Sequence[Sequence[str]], words: int = 1) -> str:
    r"""A table, ending with a line break.

    Args:
        head: of the columns.
        rows: cells, as many in each row as there are columns; Markdown in them is kept, a bar
            does not end a cell.
        words: how many columns, from the left, hold words; the others hold numbers, to the right.

    Raises:
        ValueError: a row has more or fewer cells than there are columns.

    >>> print(markdown_table(("coder", "bits"), [("a|b", "1.02")]), end="")
    | coder | bits |
    |---|---:|
    | a\|b | 1.02 |
    """
    if any(len(row) != len(head) for row in rows):
        raise ValueError(f"each row needs {len(head)} cells")
    rule = "|" + "---|" * words + "---:|" * (len(head) - words)
    return "\n".join([_line(head), rule, *map(_line, rows)]) + "\n"


def _line(cells: Sequence[str]) -> str:
    return "| " + " | ".join(cell.replace("|", r"\|") for cell in cells) + " |"
