"""The callback by which long functions report their progress."""

from collections.abc import Callable

Progress = Callable[[int, int], None]
"""Called with the number of finished parts and the number of all parts."""


def silent(done: int, total: int) -> None:
    """Report no progress."""
