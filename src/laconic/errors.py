"""Every error a user can meet.

```
LaconicError
├── InputError               the input's fault: unreadable image, impossible request
│   └── UnreachableTargetError   the requested size or exactness cannot be reached for this input
├── FileError                the fault is in a .lac file
│   ├── CorruptFileError     damaged, truncated or altered bytes
│   └── UnsupportedFileError a newer format, an unknown codec or coder, or another model's file
├── CodingError              a coder cannot express this draw (a broken model: NaN, infinite KL)
└── ConfigError              a mistyped or missing setting
    └── MissingPackageError  an optional package is not installed
```

Each message says what is wrong, with which file or argument, and what to do.
"""

import re
from typing import Final

DISTRIBUTION: Final = "laconic-codec"
"""The name on the package index; "laconic" is the name of another project there."""


COMMAND: Final = "python -c "
"""How a line of a message begins that the user may copy to a shell."""


class LaconicError(Exception):
    """Base class of every error that Laconic raises on purpose; its message is one line.

    Args:
        message: what is wrong, with what, and what to do. Texts of other libraries in it may have
            several lines: they are joined. A command to copy (`COMMAND`) keeps a line of its own.
    """

    def __init__(self, message: str = "") -> None:
        lines = [line.strip() for line in message.splitlines() if line.strip()]
        has_command = any(line.startswith(COMMAND) for line in lines)
        super().__init__(("\n" if has_command else " ").join(lines))

    def names(self, file: str) -> bool:
        """Whether the message names this file; a name of letters alone may be an ordinary word."""
        return not file.isalpha() and bool(re.search(rf"(?<!\w){re.escape(file)}(?!\w)", str(self)))


class InputError(LaconicError):
    """The input's fault: an unreadable image, an impossible request."""


class UnreachableTargetError(InputError):
    """The requested size or exactness cannot be reached for this input."""


class FileError(LaconicError):
    """The fault is in a .lac file."""


class CorruptFileError(FileError):
    """Damaged, truncated or altered bytes."""


class UnsupportedFileError(FileError):
    """A newer format, an unknown codec or coder, or a file written with another model."""


class CodingError(LaconicError):
    """A coder cannot express this draw, for instance because a model produced NaN."""


class ConfigError(LaconicError):
    """A mistyped, missing or contradictory setting."""


class MissingPackageError(ConfigError):
    """An optional package is not installed; the message names the command that installs it.

    Args:
        purpose: what needs the package, as the beginning of a sentence, e.g. "MS-SSIM needs".
        package: its name on the package index.
        extra: the extra of Laconic's distribution that brings it, or several with commas; empty
            for a package that Laconic always needs.
        instead: what to do without the package, as a clause after a comma.
    """

    def __init__(self, purpose: str, package: str, extra: str, instead: str = "") -> None:
        distribution = f"{DISTRIBUTION}[{extra}]" if extra else package
        remedy = f", {instead}" if instead else ""
        super().__init__(f"{purpose} {package}: pip install '{distribution}'{remedy}")
