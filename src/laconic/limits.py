"""How large a picture may be."""

from typing import Final

MAX_PIXELS: Final = 1 << 28
"""Of a picture in a .lac file; readers may be given a lower limit."""


def allow_large_pictures() -> None:
    """Let Pillow read pictures up to what .lac files hold; it refuses twice its own number.

    That number is Pillow's for the whole process, so only a process of our own sets it: the command
    line, and the processes that it starts. In Python, Pillow's own limit holds.
    """
    from PIL import Image

    Image.MAX_IMAGE_PIXELS = MAX_PIXELS // 2
