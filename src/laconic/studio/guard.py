"""Stands before the application: who may send requests, how many, and what answers allow a page.

Refused are: requests under another site's name (DNS rebinding), requests that pages of other sites
make a browser send, requests without the token where there is one, and too many requests.
"""

import secrets
import time
from collections import OrderedDict
from collections.abc import Callable
from typing import Final

from starlette.datastructures import MutableHeaders
from starlette.requests import Request
from starlette.responses import JSONResponse, RedirectResponse, Response
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from laconic.studio.settings import Limits, Settings

HEADERS: Final = {
    "Content-Security-Policy": "; ".join(
        (
            "default-src 'none'",
            "script-src 'self'",
            "style-src 'self'",
            "img-src 'self' blob:",
            "connect-src 'self'",
            "base-uri 'none'",
            "form-action 'none'",
            "frame-ancestors 'none'",
            "require-trusted-types-for 'script'",
        )
    ),
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Referrer-Policy": "no-referrer",
    "X-Content-Type-Options": "nosniff",
    "Cache-Control": "no-store",
}
"""Of every answer: a page may load nothing from elsewhere, and no other site may embed it."""
MOST_ADDRESSES: Final = 1024


class Rate:
    """A bucket for each address: full at first, a request takes one, time fills it again.

    Args:
        limits: size of a bucket and how fast it fills.
        clock: seconds.
    """

    def __init__(self, limits: Limits, clock: Callable[[], float] = time.monotonic) -> None:
        self._per_second, self._burst = limits.requests_per_second, limits.burst_requests
        self._clock = clock
        self._buckets: OrderedDict[str, tuple[float, float]] = OrderedDict()

    def allows(self, address: str) -> bool:
        """Whether one more request of an address is within the limits; counts it."""
        now = self._clock()
        left, then = self._buckets.pop(address, (float(self._burst), now))
        left = min(left + (now - then) * self._per_second, self._burst)
        self._buckets[address] = (max(left - 1, 0.0), now)
        if len(self._buckets) > MOST_ADDRESSES:
            self._buckets.popitem(last=False)
        return left >= 1


class Guard:
    """An application with these rules before it.

    Args:
        app: what answers allowed requests.
        settings: of the studio.
    """

    def __init__(self, app: ASGIApp, settings: Settings) -> None:
        self._app, self._settings = app, settings
        self._rate = Rate(settings.limits)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer a request, or pass it on."""
        if scope["type"] != "http":
            if scope["type"] == "lifespan":
                await self._app(scope, receive, send)
            return

        async def send_with_headers(message: Message) -> None:
            if message["type"] == "http.response.start":
                headers = MutableHeaders(scope=message)
                for name, value in HEADERS.items():
                    headers[name] = value
            await send(message)

        refusal = self._refuse(Request(scope))
        await (refusal or self._app)(scope, receive, send_with_headers)

    def _refuse(self, request: Request) -> Response | None:
        host = request.headers.get("host", "")
        if not self._settings.allows(host):
            return _error(403, "this name is not the studio's: use the address that was printed")
        address = request.client.host if request.client else ""
        if not self._rate.allows(address):
            answer = _error(429, "too many requests: wait a moment")
            answer.headers["Retry-After"] = "1"
            return answer
        if _is_foreign(request, host):
            return _error(403, "a page of another site sent this request")
        return self._check_token(request)

    def _check_token(self, request: Request) -> Response | None:
        """Without the token an error; with it in the address a cookie, and the address without."""
        token = self._settings.token
        if token is None:
            return None
        server = request.scope.get("server") or ("", 0)
        cookie = f"laconic-studio-{server[1]}"
        given = request.query_params.get("token")
        if request.url.path == "/" and given is not None and _is_same(given, token):
            answer = RedirectResponse("/", 303)
            answer.set_cookie(cookie, token, httponly=True, samesite="strict")
            return answer
        if _is_same(request.cookies.get(cookie, ""), token):
            return None
        return _error(401, "open the address with the token that `laconic studio` printed")


def _is_same(given: str, token: str) -> bool:
    return secrets.compare_digest(given.encode(), token.encode())


def _is_foreign(request: Request, host: str) -> bool:
    """Whether a browser sent this for a page of another site."""
    if request.headers.get("sec-fetch-site") in ("cross-site", "same-site"):
        # A link from elsewhere may open the page itself.
        opens = request.headers.get("sec-fetch-mode") == "navigate" and request.method == "GET"
        return not (opens and request.url.path == "/")
    origin = request.headers.get("origin")
    return origin is not None and origin != f"{request.url.scheme}://{host}"


def _error(status: int, text: str) -> Response:
    return JSONResponse({"error": text}, status)
