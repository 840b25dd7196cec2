"""Image formats that Pillow reads and writes only with another package: HEIF and JPEG XL.

These packages have GPL parts, so that the core does not depend on them and never imports them by
itself. A plugin is imported here, by its name, at the moment when a file of its format is met, and
used where the user has installed it.
"""

import importlib
from dataclasses import dataclass
from typing import Final

from laconic.errors import MissingPackageError

HEAD_BYTES: Final = 12
"""Bytes of a file's start that tell its format."""
HEIF_BRANDS: Final = frozenset(
    {b"heic", b"heix", b"heim", b"heis", b"hevc", b"hevx", b"hevm", b"hevs", b"mif1", b"msf1"}
)
"""Major brands of HEIF files. Source: ISO/IEC 23008-12, annex B."""
EXTRA: Final = "bench"
"""Of Laconic's distribution, that brings the plugins."""
JXL_STARTS: Final = (b"\xff\x0a", b"\x00\x00\x00\x0cJXL \r\n\x87\n")
"""A bare JPEG XL codestream, and one in boxes. Source: ISO/IEC 18181-2."""


@dataclass(frozen=True)
class Plugin:
    """A package that teaches Pillow a format.

    Attributes:
        label: the format's name for people.
        package: what `pip install` takes.
        module: what is imported.
        function: of the module, registers the format; empty where importing does.
        endings: of its files' names.
    """

    label: str
    package: str
    module: str
    function: str
    endings: tuple[str, ...]


PLUGINS: Final = {
    "heif": Plugin(
        "HEIF", "pillow-heif", "pillow_heif", "register_heif_opener", (".heic", ".heif", ".hif")
    ),
    "jxl": Plugin("JPEG XL", "pillow-jxl-plugin", "pillow_jxl", "", (".jxl",)),
}
"""The plugins by the short name of their format."""


def find_by_start(start: bytes) -> str | None:
    """The format in `PLUGINS` of a file that starts with these bytes, or None."""
    if start.startswith(JXL_STARTS):
        return "jxl"
    if start[4:8] == b"ftyp" and start[8:12] in HEIF_BRANDS:
        return "heif"
    return None


def find_by_ending(ending: str) -> str | None:
    """The format in `PLUGINS` of files whose names end so, such as ".heic"; or None."""
    return next((name for name, one in PLUGINS.items() if ending.lower() in one.endings), None)


def load_plugin(name: str) -> None:
    """Make a format of `PLUGINS` known to Pillow.

    Raises:
        MissingPackageError: the package is not installed.
    """
    plugin = PLUGINS[name]
    try:
        module = importlib.import_module(plugin.module)
    except ImportError as error:
        raise MissingPackageError(f"{plugin.label} needs", plugin.package, EXTRA) from error
    if plugin.function:
        getattr(module, plugin.function)()
