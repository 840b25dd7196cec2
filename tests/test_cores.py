"""The number of threads of compiled loops."""

import os

import pytest

from laconic.cores import allowed, limited, take_limited


def test_limits_nest_and_end() -> None:
    outside = allowed()
    with limited(3):
        assert allowed() == 3
        with limited(None):
            assert allowed() == 3
        with limited(1):
            assert allowed() == 1
        assert allowed() == 3
    assert allowed() == outside


@pytest.mark.parametrize(("wanted", "count"), [("3", 3), ("0", None), ("many", None), ("", None)])
def test_the_default_is_that_of_the_environment(
    wanted: str, count: int | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("OMP_NUM_THREADS", wanted)
    assert allowed() == (count or len(os.sched_getaffinity(0)))


def test_items_are_made_within_the_limit_and_used_outside() -> None:
    outside = allowed()
    seen = []
    for inside in take_limited(outside + 1, (allowed() for _ in range(2))):
        seen.append((inside, allowed()))
    assert seen == [(outside + 1, outside)] * 2
