"""A studio with a small model on a free port, pictures, and a browser."""

import http.client
import io
import json
import secrets
import sys
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass, field, replace
from importlib import resources
from pathlib import Path
from typing import Any

import pytest
import torch
from PIL import Image
from safetensors.torch import save_file

from laconic.models.sliced.config import SlicedConfig
from laconic.models.sliced.ladder import SlicedLadder
from laconic.studio.settings import Settings
from laconic.testing.browser import CHROMIUM, Browser

pytest.importorskip("starlette", reason="pip install 'laconic-codec[studio]'")
pytest.importorskip("uvicorn", reason="pip install 'laconic-codec[studio]'")


@pytest.fixture(scope="session")
def model_path(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The weights of a small model with taste, as it is before training."""
    sizes = {"fine_width": 8, "coarse_width": 8, "prior_width": 24}
    config = SlicedConfig(block=4, slices=(3, 9, 36), top=4, embedding=8, taste=True, **sizes)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        model = SlicedLadder(config)
    model.transform.variance.copy_(2.0 ** torch.linspace(1, -18, 48).round())
    facts = {"model": {"name": "sliced", **asdict(config)}, "step": 1}
    path = tmp_path_factory.mktemp("model") / "small.safetensors"
    save_file(model.state_dict(), path, metadata={"meta": json.dumps(facts)})
    return path


def photograph(number: int = 0, side: int = 176) -> Image.Image:
    """A part of the sample photograph, another one for each number."""
    with resources.as_file(resources.files("laconic.pretrained") / "sample.png") as path:
        picture = Image.open(path).convert("RGB")
    left, top = 11 * number % (picture.width - side), 7 * number % (picture.height - side)
    return picture.crop((left, top, left + side, top + side))


@pytest.fixture(scope="session")
def png() -> Callable[..., bytes]:
    """Makes PNG files of parts of the sample photograph."""

    def make(number: int = 0, side: int = 64) -> bytes:
        buffer = io.BytesIO()
        photograph(number, side).save(buffer, "PNG")
        return buffer.getvalue()

    return make


@dataclass
class Answer:
    """What the studio answered.

    Attributes:
        status: of the answer.
        headers: their names in small letters.
        body: its bytes.
    """

    status: int
    headers: dict[str, str]
    body: bytes

    @property
    def json(self) -> Any:
        """The body as JSON."""
        return json.loads(self.body)

    @property
    def last(self) -> dict[str, Any]:
        """The last line of an answer to work."""
        assert self.status == 200, self.body
        value: dict[str, Any] = json.loads(self.body.splitlines()[-1])
        return value

    @property
    def result(self) -> dict[str, Any]:
        """The result of work."""
        assert "result" in self.last, self.last
        value: dict[str, Any] = self.last["result"]
        return value


class Pending:
    """A request whose answer has not come yet.

    Args:
        connection: it was sent on.
    """

    def __init__(self, connection: http.client.HTTPConnection) -> None:
        self.connection = connection
        self._response: http.client.HTTPResponse | None = None

    @property
    def response(self) -> http.client.HTTPResponse:
        """The answer, once its first line is there."""
        if self._response is None:
            self._response = self.connection.getresponse()
        return self._response

    def wait(self) -> dict[str, Any]:
        """The next line that says something."""
        while not (line := self.response.readline()).strip():
            assert line, "the answer has ended"
        value: dict[str, Any] = json.loads(line)
        return value

    def finish(self) -> Answer:
        """All that is left of the answer."""
        response = self.response
        found = {name.lower(): value for name, value in response.getheaders()}
        answer = Answer(response.status, found, response.read())
        self.close()
        return answer

    def close(self) -> None:
        """Leave, as a browser does that is closed."""
        if self._response is not None:
            self._response.close()
        self.connection.close()


@dataclass
class Tab:
    """Sends requests as one tab of a browser does."""

    port: int
    session: str = field(default_factory=lambda: secrets.token_hex(16))

    def send(
        self, method: str, path: str, body: bytes | None = None, **headers: str | None
    ) -> Answer:
        """One request; underscores in names of headers stand for hyphens, None leaves one out."""
        return self.begin(method, path, body, **headers).finish()

    def begin(
        self, method: str, path: str, body: bytes | None = None, **headers: str | None
    ) -> Pending:
        """Send a request without waiting for its answer."""
        given = {"X-Session": self.session} | {
            name.replace("_", "-"): value for name, value in headers.items()
        }
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=60)
        sent = {name: value for name, value in given.items() if value is not None}
        connection.request(method, path, body, sent)
        return Pending(connection)

    def upload(self, data: bytes) -> Answer:
        """Open a picture or a file."""
        return self.send("POST", "/api/pictures", data)

    def order(self, task: str, source: str, **fields: object) -> Answer:
        """Work on something."""
        order = {"task": task, "source": source, **fields}
        return self.send("POST", "/api/orders", json.dumps(order).encode())

    def blob(self, name: str) -> bytes:
        """The bytes of a result."""
        answer = self.send("GET", f"/api/results/{name}")
        assert answer.status == 200, answer.body
        return answer.body


@dataclass
class Running:
    """A studio that runs.

    Attributes:
        port: where it listens.
        desk: `laconic.studio.app.Desk`.
    """

    port: int
    desk: Any

    @property
    def address(self) -> str:
        """What a browser opens."""
        return f"http://127.0.0.1:{self.port}/"

    def tab(self) -> Tab:
        """A new tab."""
        return Tab(self.port)

    def wait(self, condition: Callable[[], bool], seconds: float = 30) -> None:
        """Wait until something holds."""
        end = time.monotonic() + seconds
        while not condition():
            assert time.monotonic() < end, f"not within {seconds} s: {self.desk.pool.counts}"
            time.sleep(0.02)


def run_studio(settings: Settings, given: tuple[Path, ...] = ()) -> Iterator[Running]:
    """A studio in a thread, until the generator is closed."""
    import uvicorn

    from laconic.studio.app import make_app
    from laconic.studio.server import configure, listen

    app, desk = make_app(settings, given)
    with listen("127.0.0.1", 0) as where:
        server = uvicorn.Server(configure(app))
        thread = threading.Thread(target=server.run, kwargs={"sockets": [where]})
        thread.start()
        try:
            yield Running(where.getsockname()[1], desk)
        finally:
            server.should_exit = True
            thread.join(30)
            assert not thread.is_alive()


@pytest.fixture(scope="session")
def quick() -> Settings:
    """Stub workers, no limit on requests."""
    stub = Path(__file__).with_name("stub_worker.py")
    plain = Settings(command=(sys.executable, str(stub)))
    limits = replace(plain.limits, requests_per_second=1e6, burst_requests=10**6)
    return replace(plain, limits=limits)


@pytest.fixture(scope="session")
def stub(
    quick: Settings, tmp_path_factory: pytest.TempPathFactory, png: Callable[..., bytes]
) -> Iterator[Running]:
    """A studio with a stub worker for many tests, which offers two pictures."""
    folder = tmp_path_factory.mktemp("given")
    for number in (1, 2):
        (folder / f"given-{number}.png").write_bytes(png(number))
    yield from run_studio(quick, (folder / "given-1.png", folder / "given-2.png"))


@pytest.fixture(scope="session")
def settings(model_path: Path) -> Settings:
    """The small model, one worker on one thread, no limit on requests."""
    plain = Settings(model=str(model_path))
    limits = replace(plain.limits, requests_per_second=1e6, burst_requests=10**6)
    return replace(plain, limits=limits)


@pytest.fixture(scope="session")
def start_studio() -> Callable[..., Iterator[Running]]:
    """Runs studios: `run_studio`."""
    return run_studio


@pytest.fixture(scope="session")
def studio(settings: Settings) -> Iterator[Running]:
    """A studio with a real worker and the small model, for many tests."""
    yield from run_studio(settings)


@pytest.fixture(scope="session")
def browser(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Browser]:
    """One browser for all tests of a process."""
    if CHROMIUM is None:
        pytest.skip("no chromium: apt-get install chromium")
    with Browser(tmp_path_factory.mktemp("browser")) as found:
        yield found
