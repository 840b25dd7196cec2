"""What browser tabs keep here: uploads and results, in memory, with bounds."""

import secrets
from collections import OrderedDict
from typing import NamedTuple

from laconic.studio.settings import Limits

NAME_BYTES = 12


class Blob(NamedTuple):
    """A file in memory.

    Attributes:
        data: its bytes.
        media_type: of the answer that has it.
    """

    data: bytes
    media_type: str


class Session:
    """The files of one browser tab, the one that was used last at the end."""

    def __init__(self) -> None:
        self.blobs: OrderedDict[str, Blob] = OrderedDict()
        self.size_bytes = 0

    def drop_oldest(self) -> None:
        """Forget one file."""
        _, blob = self.blobs.popitem(last=False)
        self.size_bytes -= len(blob.data)


class Store:
    """The files of all tabs.

    Args:
        limits: how much is kept.
    """

    def __init__(self, limits: Limits) -> None:
        self._limits = limits
        self._sessions: OrderedDict[str, Session] = OrderedDict()

    @property
    def size_bytes(self) -> int:
        """All files together."""
        return sum(session.size_bytes for session in self._sessions.values())

    def put(self, session: str, data: bytes, media_type: str) -> str:
        """Keep a file; returns the name by which its tab gets it again."""
        found = self._sessions.setdefault(session, Session())
        self._sessions.move_to_end(session)
        name = secrets.token_hex(NAME_BYTES)
        found.blobs[name] = Blob(data, media_type)
        found.size_bytes += len(data)
        while found.size_bytes > self._limits.session_bytes and len(found.blobs) > 1:
            found.drop_oldest()
        self._make_room()
        return name

    def get(self, session: str, name: str) -> Blob | None:
        """A file of a tab; None if it was dropped, or is another tab's."""
        found = self._sessions.get(session)
        if found is None or name not in found.blobs:
            return None
        self._sessions.move_to_end(session)
        found.blobs.move_to_end(name)
        return found.blobs[name]

    def _make_room(self) -> None:
        """Drop the tabs that were idle longest, but not the last one."""
        while len(self._sessions) > 1 and (
            len(self._sessions) > self._limits.sessions
            or self.size_bytes > self._limits.total_bytes
        ):
            self._sessions.popitem(last=False)
