"""Settings of the studio: where it listens, and its limits."""

import ipaddress
import secrets
import sys
from dataclasses import dataclass, field
from typing import Final

ANCHOR_NAMES: Final = ("jpeg", "webp", "avif")
"""Classical codecs to compare with."""
LOCAL_NAMES: Final = frozenset({"localhost"})
TOKEN_BYTES: Final = 16


@dataclass(frozen=True)
class Limits:
    """What one studio accepts and keeps.

    Attributes:
        upload_bytes: of one request.
        pixels: of one picture.
        sessions: browser tabs whose files are kept.
        session_bytes: files of one tab; the oldest are dropped first.
        total_bytes: files of all tabs; those of the tab that was idle longest are dropped first.
        requests_per_second: of one address, on average.
        burst_requests: of one address at once.
        waiting_jobs: that wait for a worker.
        job_seconds: after which work on one request is stopped.
        grace_seconds: after which work that was cancelled is stopped by ending its process.
    """

    upload_bytes: int = 64 << 20
    pixels: int = 1 << 25
    sessions: int = 32
    session_bytes: int = 192 << 20
    total_bytes: int = 512 << 20
    requests_per_second: float = 40.0
    burst_requests: int = 160
    waiting_jobs: int = 16
    job_seconds: float = 600.0
    grace_seconds: float = 3.0


@dataclass(frozen=True)
class Settings:
    """One studio.

    Attributes:
        host: address or name that it listens on.
        token: that every request must have; None: none is needed, as on loopback addresses.
        names: names under which a browser may address it, besides addresses.
        model: name of an embedded model or path of one; None: the default.
        workers: processes that work at the same time.
        threads: of each.
        limits: what it accepts and keeps.
        command: that starts a worker; its setup follows as JSON.
    """

    host: str = "127.0.0.1"
    token: str | None = None
    names: frozenset[str] = LOCAL_NAMES
    model: str | None = None
    workers: int = 1
    threads: int = 1
    limits: Limits = field(default_factory=Limits)
    command: tuple[str, ...] = (sys.executable, "-m", "laconic.studio.worker")

    def allows(self, host: str) -> bool:
        """Whether a browser may have sent this value of the header `Host`.

        A page of another site can be made to reach this machine only under that site's name (DNS
        rebinding). So known names and plain addresses are accepted; without a token those of
        loopback alone.
        """
        name = name_of_host(host)
        if name in self.names:
            return True
        try:
            address = ipaddress.ip_address(name)
        except ValueError:
            return False
        return address.is_loopback or self.token is not None


def name_of_host(host: str) -> str:
    """The name or address in a header `Host`, without the port and brackets.

    >>> name_of_host("LOCALHOST:8765"), name_of_host("[::1]:80"), name_of_host("::1")
    ('localhost', '::1', '::1')
    """
    if host.startswith("["):
        return host[1:].partition("]")[0].lower()
    return host.lower() if host.count(":") > 1 else host.partition(":")[0].lower()


def is_loopback(host: str) -> bool:
    """Whether a host to listen on can be reached from this machine alone.

    >>> [is_loopback(host) for host in ("127.0.0.1", "localhost", "::1", "0.0.0.0", "example")]
    [True, True, True, False, False]
    """
    if host in LOCAL_NAMES:
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


def make_token() -> str:
    """A new token, which cannot be guessed."""
    return secrets.token_urlsafe(TOKEN_BYTES)
