"""The application: pages, uploads, orders, results.

Uploads and orders are answered by lines of JSON as the work goes on: `{"progress": [done, total]}`,
at last `{"result": {...}}` or `{"error": "..."}`. If the browser leaves, or sends a newer order of
the same kind, the work ends.
"""

import asyncio
import contextlib
import json
import re
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from importlib import resources
from pathlib import Path
from typing import Any, Final

from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import JSONResponse, Response, StreamingResponse
from starlette.routing import Route

from laconic.container.storage import read_bytes
from laconic.errors import InputError
from laconic.studio.frames import Message
from laconic.studio.guard import Guard
from laconic.studio.orders import read_order
from laconic.studio.pool import BusyError, Pool
from laconic.studio.settings import Settings
from laconic.studio.store import Store

SESSION: Final = re.compile(r"[0-9a-f]{32}")
MEDIA_TYPES: Final = {
    ".html": "text/html; charset=utf-8",
    ".css": "text/css; charset=utf-8",
    ".js": "text/javascript; charset=utf-8",
    ".svg": "image/svg+xml",
}
FILE_TYPES: Final = {"file": "application/octet-stream"}
"""Media types of results; the others are PNG pictures."""
BEAT_SECONDS: Final = 1.0
"""An empty line is sent so often, so that a browser that left is noticed."""
ORDER_BYTES: Final = 4096

Run = Callable[[Callable[[int, int], None]], Awaitable[Message]]


class Desk:
    """Takes orders of tabs: one of a kind at a time for each.

    Args:
        settings: of the studio.
        given: pictures that the command line named.
    """

    def __init__(self, settings: Settings, given: Sequence[Path]) -> None:
        self.settings, self.given = settings, given
        self.pool, self.store = Pool(settings), Store(settings.limits)
        self._running: dict[tuple[str, str], asyncio.Task[Message]] = {}
        self._about: asyncio.Task[Message] | None = None

    async def about(self) -> dict[str, Any]:
        """What the page must know; the first call starts a worker."""
        failed = self._about is not None and self._about.done() and self._about.exception()
        if self._about is None or failed:
            self._about = asyncio.create_task(self.pool.run({"task": "describe"}))
        return (await asyncio.shield(self._about)).head

    async def close(self, *tasks: "asyncio.Task[Any]") -> None:
        """End all work, these tasks, and the workers."""
        ending = [*tasks, *self._running.values(), *([self._about] if self._about else [])]
        for task in ending:
            task.cancel()
        await asyncio.gather(*ending, return_exceptions=True)
        await self.pool.close()

    def answer(self, session: str, slot: str, run: Run) -> Response:
        """Begin work in a slot, end an older one, and answer with its lines.

        Args:
            session: the tab.
            slot: kind of the work.
            run: begins it; gets a function that takes its progress.
        """
        key = (session, slot)
        if older := self._running.pop(key, None):
            older.cancel()
        lines: asyncio.Queue[dict[str, Any]] = asyncio.Queue()
        task = asyncio.ensure_future(
            run(lambda done, total: lines.put_nowait({"progress": [done, total]}))
        )
        assert isinstance(task, asyncio.Task)
        self._running[key] = task
        return StreamingResponse(self._follow(key, task, lines), media_type="application/x-ndjson")

    async def _follow(
        self,
        key: tuple[str, str],
        task: "asyncio.Task[Message]",
        lines: "asyncio.Queue[dict[str, Any]]",
    ) -> AsyncIterator[bytes]:
        """The lines of an answer; the work ends with them."""
        try:
            while not task.done():
                await asyncio.wait([task], timeout=0 if not lines.empty() else BEAT_SECONDS / 10)
                yield b"".join(_line(lines.get_nowait()) for _ in range(lines.qsize())) or b"\n"
            yield _line(self._outcome(key[0], task))
        finally:
            task.cancel()
            if self._running.get(key) is task:
                del self._running[key]

    def _outcome(self, session: str, task: "asyncio.Task[Message]") -> dict[str, Any]:
        """The last line of an answer; files are kept, and named."""
        try:
            answer = task.result()
        except asyncio.CancelledError:
            return {"error": "a newer request took its place", "cancelled": True}
        except InputError as error:
            return {"error": str(error)}
        except BusyError:
            return {"error": "too many requests wait: try again in a moment"}
        head = dict(answer.head)
        for name, blob in zip(head.pop("files", ()), answer.blobs, strict=True):
            head[name] = self.store.put(session, blob, FILE_TYPES.get(name, "image/png"))
        return {"result": head}


def _line(value: dict[str, Any]) -> bytes:
    return json.dumps(value).encode() + b"\n"


class Pages:
    """The answers to requests.

    Args:
        desk: takes orders.
    """

    def __init__(self, desk: Desk) -> None:
        self.desk = desk
        folder = resources.files("laconic.studio").joinpath("static")
        self._files = {entry.name: entry.read_bytes() for entry in folder.iterdir()}

    async def static(self, request: Request) -> Response:
        """A file of the page; only names that are there are known."""
        name = request.path_params.get("name", "index.html")
        if name not in self._files:
            raise HTTPException(404, "there is no such page")
        return Response(self._files[name], media_type=MEDIA_TYPES[Path(name).suffix])

    async def about(self, _: Request) -> Response:
        """The model, its controls, the limits, and the pictures of the command line."""
        try:
            facts = await self.desk.about()
        except InputError as error:
            raise HTTPException(503, str(error)) from error
        limits = self.desk.settings.limits
        facts = {**facts, "upload_bytes": limits.upload_bytes, "pixels": limits.pixels}
        return JSONResponse(facts | {"given": [path.name for path in self.desk.given]})

    async def upload(self, request: Request) -> Response:
        """A picture or a .lac file, as the body of the request."""
        session = _session(request)
        return self._open(session, await _body(request, self.desk.settings.limits.upload_bytes))

    async def given(self, request: Request) -> Response:
        """A picture that the command line named, by its number."""
        session, index = _session(request), request.path_params["index"]
        if index >= len(self.desk.given):
            raise HTTPException(404, "there is no such picture")
        try:
            data = await asyncio.to_thread(read_bytes, self.desk.given[index])
        except InputError as error:
            raise HTTPException(400, str(error)) from error
        return self._open(session, data)

    def _open(self, session: str, data: bytes) -> Response:
        """Keep an upload and let a worker read it; the answer names it as `source`."""

        async def run(progress: Callable[[int, int], None]) -> Message:
            answer = await self.desk.pool.run({"task": "read"}, (data,), progress)
            source = self.desk.store.put(session, data, "application/octet-stream")
            return Message({**answer.head, "source": source}, answer.blobs)

        return self.desk.answer(session, "read", run)

    async def order(self, request: Request) -> Response:
        """Work on something that was uploaded or made."""
        session = _session(request)
        body = await _body(request, ORDER_BYTES)
        try:
            order = read_order(json.loads(body))
        except (ValueError, RecursionError) as error:
            raise HTTPException(400, "the order is no JSON text") from error
        except InputError as error:
            raise HTTPException(400, str(error)) from error
        blob = self.desk.store.get(session, order.source)
        if blob is None:
            raise HTTPException(410, "this picture is not kept any more: choose it again")

        async def run(progress: Callable[[int, int], None]) -> Message:
            head = {"task": order.task, **order.fields}
            return await self.desk.pool.run(head, (blob.data,), progress)

        return self.desk.answer(session, order.slot, run)

    async def blob(self, request: Request) -> Response:
        """A result."""
        blob = self.desk.store.get(_session(request), request.path_params["name"])
        if blob is None:
            raise HTTPException(410, "this result is not kept any more: request it again")
        return Response(blob.data, media_type=blob.media_type)


def make_app(settings: Settings, given: Sequence[Path] = ()) -> tuple[Guard, Desk]:
    """The application with its guard, and the desk behind it.

    Args:
        settings: of the studio.
        given: pictures that the command line named.
    """
    desk = Desk(settings, given)
    pages = Pages(desk)

    @contextlib.asynccontextmanager
    async def life(_: Starlette) -> AsyncIterator[None]:
        starting = asyncio.create_task(_warm_up(desk))
        yield
        await desk.close(starting)

    routes = [
        Route("/", pages.static),
        Route("/static/{name}", pages.static),
        Route("/api/about", pages.about),
        Route("/api/pictures", pages.upload, methods=["POST"]),
        Route("/api/given/{index:int}", pages.given, methods=["POST"]),
        Route("/api/orders", pages.order, methods=["POST"]),
        Route("/api/results/{name}", pages.blob),
    ]
    app = Starlette(routes=routes, lifespan=life, exception_handlers={HTTPException: _refuse})
    return Guard(app, settings), desk


async def _warm_up(desk: Desk) -> None:
    """Start a worker before the first picture comes."""
    with contextlib.suppress(InputError, BusyError):
        await desk.about()


async def _refuse(_: Request, error: Exception) -> Response:
    assert isinstance(error, HTTPException)
    return JSONResponse({"error": error.detail}, error.status_code)


def _session(request: Request) -> str:
    """The tab that sends a request, by its own header, which no page of another site can send."""
    session = request.headers.get("x-session", "")
    if not SESSION.fullmatch(session):
        raise HTTPException(400, "the header X-Session is missing")
    return session


async def _body(request: Request, most: int) -> bytes:
    """The body of a request, never more than `most` bytes of it."""
    too_large = HTTPException(413, f"this is more than {most:,} bytes")
    length = request.headers.get("content-length", "")
    if length.isdecimal() and int(length) > most:
        raise too_large
    pieces, size = [], 0
    async for piece in request.stream():
        size += len(piece)
        if size > most:
            raise too_large
        pieces.append(piece)
    return b"".join(pieces)
