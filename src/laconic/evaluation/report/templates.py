"""HTML pages from the templates of this package; all values are escaped."""

from dataclasses import dataclass
from functools import cache
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from jinja2 import Environment


@dataclass(frozen=True)
class Cell:
    """A cell of a table.

    Attributes:
        lines: of text.
        notes: small text after it, e.g. "± 0.2".
        kind: a class of the style sheet.
    """

    lines: tuple[str, ...]
    notes: tuple[str, ...] = ()
    kind: str = ""

    @property
    def text(self) -> str:
        """The lines as one."""
        return " ".join(self.lines)


@dataclass(frozen=True)
class Table:
    """A table of a page.

    Attributes:
        name: name for screen readers.
        heads: over the columns, the first over the rows' names.
        rows: each a name and its cells.
        kind: a class of the style sheet.
    """

    name: str
    heads: tuple[str, ...]
    rows: tuple[tuple[str, tuple[Cell, ...]], ...]
    kind: str = ""


def render_template(name: str, **values: Any) -> str:
    """A page.

    Args:
        name: of the template's file, e.g. "page.html".
        values: what the template shows; text is escaped, and every name must be given.
    """
    return _environment().get_template(name).render(**values)


@cache
def _environment() -> "Environment":
    """The templates; imported late, so that commands that write no page start quickly."""
    from jinja2 import Environment, PackageLoader, StrictUndefined

    return Environment(
        loader=PackageLoader("laconic.evaluation.report"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
    )
