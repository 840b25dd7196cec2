"""Every error a user can meet.

```
LaconicError
├── InputError               the input's fault: unreadable image, impossible request
│   └── UnreachableTargetError   the asked-for size or exactness cannot be reached for this input
├── FileError                what is wrong lies in a .lac file
│   ├── CorruptFileError     damaged, truncated or altered bytes
│   └── UnsupportedFileError a newer format, an unknown codec or coder, or another model's file
├── CodingError              a coder cannot express this draw (a broken model: NaN, infinite KL)
└── ConfigError              a mistyped or missing setting
```

Each message says what is wrong, with which file or argument, and what to do.
"""


class LaconicError(Exception):
    """Base of every error that Laconic raises on purpose."""


class InputError(LaconicError):
    """The input's fault: an unreadable image, an impossible request."""


class UnreachableTargetError(InputError):
    """The asked-for size or exactness cannot be reached for this input."""


class FileError(LaconicError):
    """What is wrong lies in a .lac file."""


class CorruptFileError(FileError):
    """Damaged, truncated or altered bytes."""


class UnsupportedFileError(FileError):
    """A newer format, an unknown codec or coder, or a file written with another model."""


class CodingError(LaconicError):
    """A coder cannot express this draw, for instance because a model produced NaN."""


class ConfigError(LaconicError):
    """A mistyped, missing or contradictory setting."""
