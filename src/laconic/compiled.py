"""The decorator of every compiled loop whose machine code is kept on disk.

Numba's own cache compares the caller's file only. After an edit of a callee, or of a constant in
another file, it would run old machine code, and a codec would decode a wrong picture. Here the key
covers all sources of the function's package (`laconic.coding`, `laconic.imaging`, ...), those of
packages that it names, and the versions of the compiler.

Machine code is kept in NUMBA_CACHE_DIR if that is set, else beside the source, else in numba's
folder for this user. If none of them is writable, it stays in memory, without a message.
"""

import hashlib
import inspect
import os
from collections.abc import Callable
from contextlib import suppress
from functools import cache
from pathlib import Path
from typing import Any, TypeVar, cast

from laconic.waiting import without_scipy

with without_scipy():
    import llvmlite
    import numba
    import numba.np.arraymath
    from numba.core.caching import (
        CompileResultCacheImpl,
        FunctionCache,
        IndexDataCacheFile,
        InTreeCacheLocator,
        UserProvidedCacheLocator,
        UserWideCacheLocator,
    )

Function = TypeVar("Function", bound=Callable[..., Any])

ROOT = Path(__file__).parent


def compiled(also: tuple[str, ...] = (), **options: Any) -> Callable[[Function], Function]:
    """`numba.njit` with these options; machine code is kept until a source of the package changes.

    Use it for functions that Python calls. A helper that only compiled loops call needs no copy of
    its own on disk: decorate it with `helper` or `njit`.

    Args:
        also: other packages whose constants or functions the function uses.
        options: of `numba.njit`, without `cache`.

    Returns:
        A decorator that returns numba's dispatcher.

    Example:
        `@compiled(nogil=True, error_model="numpy")`
    """

    def decorate(function: Function) -> Function:
        function = inspect.unwrap(function)  # Tests check types by wrappers.
        dispatcher: Function = numba.njit(**options)(function)
        with suppress(RuntimeError):  # No folder is writable: compiled in memory.
            vars(dispatcher)["_cache"] = _Cache(function, also)
        return dispatcher

    return decorate


def helper(function: Function) -> Function:
    """A function that compiled loops alone call: it is compiled into them."""
    return cast(Function, numba.njit(inspect.unwrap(function)))


@cache
def source_stamp(*packages: str) -> str:
    """SHA-256 of packages' sources, of this file and of the compiler's versions, in hex.

    Args:
        packages: folders of `laconic`.
    """
    digest = hashlib.sha256(f"{numba.__version__} {llvmlite.__version__}".encode())
    sources = [path for package in packages for path in sorted((ROOT / package).rglob("*.py"))]
    for path in [Path(__file__), *sources]:
        digest.update(f"\n{path.relative_to(ROOT).as_posix()} {path.stat().st_size}\n".encode())
        digest.update(path.read_bytes())
    return digest.hexdigest()


class _PerUser(UserWideCacheLocator):
    """Numba's folder for this user, where there is such a user."""

    @classmethod
    def from_function(cls, py_func: Callable[..., Any], py_file: str) -> Any:
        if os.path.expanduser("~").startswith("~"):  # No home: numba would make a folder "~" here.
            return None
        return super().from_function(py_func, py_file)


class _Locations(CompileResultCacheImpl):
    _locator_classes = [UserProvidedCacheLocator, InTreeCacheLocator, _PerUser]  # noqa: RUF012


class _Files(IndexDataCacheFile):
    """One file per function, types, processor and stamp: processes never share an index."""

    def load(self, key: object) -> Any:
        """The machine code kept for this key; None if it is missing or unreadable."""
        try:
            return self._load_data(self._name(key))
        except Exception:  # Missing or damaged: pickled data fails in every way.
            return None

    def save(self, key: object, data: Any) -> None:
        """Keep machine code for this key, and remove that of older sources."""
        self._save_data(self._name(key), data)
        base = self._base()
        for path in Path(self._cache_path).glob(f"{base}.*.nb?"):
            if not path.name.startswith(f"{base}.{self._source_stamp[:16]}."):
                path.unlink(missing_ok=True)

    def flush(self) -> None:
        """Remove all machine code of this function."""
        for path in Path(self._cache_path).glob(f"{self._base()}.*.nb?"):
            path.unlink(missing_ok=True)

    def _base(self) -> str:
        return str(self._index_name).removesuffix(".nbi")

    def _name(self, key: object) -> str:
        digest = hashlib.sha256(repr(key).encode()).hexdigest()
        return f"{self._base()}.{self._source_stamp[:16]}.{digest[:16]}.nbc"


class _Cache(FunctionCache):
    _impl_class = _Locations

    def __init__(self, function: Callable[..., Any], also: tuple[str, ...]) -> None:
        super().__init__(function)
        package = Path(function.__code__.co_filename).relative_to(ROOT).parts[0]
        stamp = source_stamp(package, *also)
        self._cache_file = _Files(self._cache_path, self._impl.filename_base, stamp)

    def save_overload(self, sig: Any, data: Any) -> None:
        with suppress(OSError):  # The folder went read-only or the disk is full: kept in memory.
            super().save_overload(sig, data)
