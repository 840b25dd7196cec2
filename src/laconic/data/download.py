"""Download a data set: files are checked against their SHA-256, and downloads can be resumed."""

import os
from collections.abc import Callable
from pathlib import Path
from typing import IO, Any, Final

from laconic.data.datasets import RemoteFile, data_sets, size_of
from laconic.errors import InputError

TIMEOUT_SECONDS: Final = 30
"""How long a server may stay silent."""

PIECE_BYTES: Final = 1 << 16
"""Bytes that are read from a server at a time."""

Tick = Callable[[int, int], None]
"""Called with the bytes downloaded and the bytes in all."""


def fetch(name: str, root: Path, tick: Tick | None = None, force: bool = False) -> list[Path]:
    """Download what is missing of a data set, and check the SHA-256 of all its files.

    An interrupted download goes on where it was when `fetch` is called again: the file beside the
    target, whose name starts with a dot and ends in ".part", holds what has arrived.

    Args:
        name: of the data set.
        root: the data root; it is made if it does not exist.
        tick: called as bytes arrive.
        force: replace files that exist and are not the published ones.

    Returns:
        The files that were downloaded.

    Raises:
        InputError: there is no such set, or it has no public address; a file exists and is not the
            published one; the server cannot be reached, or sends other bytes.
    """
    known = data_sets()
    if name not in known:
        raise InputError(f"there is no data set {name!r}; known are {', '.join(known)}")
    wanted = known[name]
    if not wanted.files:
        raise InputError(
            f"{name} cannot be downloaded. To bring your own: {wanted.instructions} "
            f"The folder is {root / name}"
        )
    left = [file for file in wanted.files if not _is_published(root / file.path, file, force)]
    total = sum(file.size_bytes for file in left)
    done = 0
    for file in left:

        def count(size: int, before: int = done) -> None:
            if tick is not None:
                tick(before + size, total)

        _download(file, root / file.path, count)
        done += file.size_bytes
    return [root / file.path for file in left]


def _is_published(path: Path, file: RemoteFile, force: bool) -> bool:
    """Whether a file is here and is the published one.

    Raises:
        InputError: it is another one, and is not to be replaced.
    """
    import pooch

    if not path.exists():
        return False
    try:
        if pooch.file_hash(path) == file.sha256:
            return True
    except OSError as error:
        raise InputError(f"cannot read {path}: {error.strerror or error}") from error
    if force:
        return False
    raise InputError(
        f"{path} exists and is not the published file: its SHA-256 differs; --force replaces it"
    )


def _download(file: RemoteFile, path: Path, count: Callable[[int], None]) -> None:
    """Download one file into its place."""
    import pooch
    from requests.exceptions import RequestException

    pooch.get_logger().setLevel("ERROR")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        pooch.retrieve(
            file.url,
            f"sha256:{file.sha256}",
            path.name,
            path.parent,
            downloader=_Resumable(path.with_name(f".{path.name}.part"), count),
        )
    except RequestException as error:
        raise InputError(
            f"{path} cannot be downloaded from {file.url}: {_reason(error)}. Check the network and "
            "start the command again: it goes on where it was"
        ) from error
    except ValueError as error:  # The checksum.
        raise InputError(
            f"{path} was not written: {file.url} sends another file than the one that is known, "
            f"whose SHA-256 is {file.sha256}"
        ) from error
    except OSError as error:
        raise InputError(f"cannot write {path}: {error.strerror or error}") from error


class _Resumable:
    """A downloader for pooch that keeps what has arrived, and asks the server for the rest.

    Args:
        part: the file that is kept while it is incomplete.
        count: called with its bytes.
    """

    def __init__(self, part: Path, count: Callable[[int], None]) -> None:
        self.part, self.count = part, count

    def __call__(self, url: str, output_file: str | IO[bytes], pooch: Any) -> None:
        """Download an address into a file."""
        import requests

        have = max(size_of(self.part), 0)
        headers = {"Range": f"bytes={have}-"} if have else {}
        with requests.get(url, headers=headers, stream=True, timeout=TIMEOUT_SECONDS) as answer:
            if answer.status_code != requests.codes.requested_range_not_satisfiable:
                answer.raise_for_status()
                goes_on = answer.status_code == requests.codes.partial_content
                with self.part.open("ab" if goes_on else "wb") as file:
                    for piece in answer.iter_content(PIECE_BYTES):
                        file.write(piece)
                        self.count(file.tell())
        os.replace(self.part, str(output_file))


def _reason(error: Exception) -> str:
    """Why a download failed, in a few words."""
    from requests import exceptions

    answer = getattr(error, "response", None)
    if isinstance(error, exceptions.HTTPError) and answer is not None:
        return f"the server answers {answer.status_code} {answer.reason}"
    if isinstance(error, exceptions.Timeout):
        return f"the server was silent for {TIMEOUT_SECONDS} seconds"
    if isinstance(error, exceptions.ChunkedEncodingError):
        return "the connection broke"
    return "the server cannot be reached"
