"""The server of the studio: its address, its token, and its life."""

import contextlib
import socket
import webbrowser
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Final

from laconic.errors import InputError
from laconic.studio.settings import LOCAL_NAMES, Settings, is_loopback, make_token

if TYPE_CHECKING:
    import uvicorn
    from starlette.types import ASGIApp

PORT: Final = 8765
"""Where the studio listens if nothing else is given."""
IDLE_SECONDS: Final = 20
MOST_CONNECTIONS: Final = 128


def listen(host: str, port: int) -> socket.socket:
    """A socket that listens.

    Args:
        host: name or address.
        port: 0 takes a free one.

    Raises:
        InputError: the port is taken, or the host is not this machine's.
    """
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    try:
        return socket.create_server((host, port), family=family)
    except OSError as error:
        raise InputError(
            f"cannot listen on {host}, port {port}: {error.strerror or error}; "
            "give another --port (0 takes a free one)"
        ) from error


def address_of(settings: Settings, port: int) -> str:
    """The address that a browser opens, with the token where there is one."""
    host = f"[{settings.host}]" if ":" in settings.host else settings.host
    query = "" if settings.token is None else f"?token={settings.token}"
    return f"http://{host}:{port}/{query}"


def with_token(settings: Settings) -> Settings:
    """The same, with a token and this machine's names, if others can reach the host."""
    if is_loopback(settings.host):
        return settings
    names = LOCAL_NAMES | {settings.host.lower(), socket.gethostname().lower()}
    return replace(settings, token=make_token(), names=names)


def serve(
    given: Sequence[Path],
    settings: Settings,
    port: int,
    announce: Callable[[str], None],
    in_browser: bool = False,
) -> None:
    """Run the studio until it is interrupted.

    Args:
        given: pictures that the page offers.
        settings: of the studio; other hosts than loopback get a token.
        port: where it listens; 0 takes a free one.
        announce: called with the address once it can be opened.
        in_browser: open the address in a browser, too.

    Raises:
        InputError: it cannot listen there.
        ModuleNotFoundError: starlette or uvicorn is missing.
    """
    import uvicorn

    from laconic.studio.app import make_app

    settings = with_token(settings)
    app, _ = make_app(settings, given)
    with listen(settings.host, port) as where:
        address = address_of(settings, where.getsockname()[1])
        announce(address)
        if in_browser:
            webbrowser.open(address)
        with contextlib.suppress(KeyboardInterrupt):
            uvicorn.Server(configure(app)).run(sockets=[where])


def configure(app: "ASGIApp") -> "uvicorn.Config":
    """How the server runs an application."""
    import uvicorn

    return uvicorn.Config(
        app,
        log_level="warning",
        access_log=False,
        server_header=False,
        ws="none",
        limit_concurrency=MOST_CONNECTIONS,
        timeout_keep_alive=IDLE_SECONDS,
        timeout_graceful_shutdown=1,
    )
