"""Which names a browser may address the studio by."""

import pytest

from laconic.studio.server import address_of, with_token
from laconic.studio.settings import Settings


@pytest.mark.parametrize(
    ("host", "local", "open_to_all"),
    [
        ("localhost:8765", True, True),
        ("LOCALHOST", True, True),
        ("127.0.0.1:1", True, True),
        ("[::1]:8765", True, True),
        ("192.168.1.5:8765", False, True),
        ("evil.example:8765", False, False),
        ("localhost.evil.example", False, False),
        ("127.0.0.1.evil.example", False, False),
        ("", False, False),
        ("[::1", True, True),
        ("a:b:c", False, False),
    ],
)
def test_names(host: str, local: bool, open_to_all: bool) -> None:
    assert Settings().allows(host) is local
    assert with_token(Settings(host="0.0.0.0")).allows(host) is open_to_all


def test_a_token_where_others_can_reach_it() -> None:
    assert with_token(Settings()).token is None
    assert with_token(Settings(host="::1")).token is None
    first, second = (with_token(Settings(host="0.0.0.0")) for _ in range(2))
    assert first.token
    assert first.token != second.token
    assert address_of(first, 80) == f"http://0.0.0.0:80/?token={first.token}"
    assert address_of(Settings(host="::1"), 80) == "http://[::1]:80/"
    assert with_token(Settings(host="Studio.example")).allows("studio.example:80")
