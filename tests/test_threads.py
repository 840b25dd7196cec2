"""Threads of our own sleep while they wait; networks run on one thread of torch."""

import os
import sys
import threading
from collections.abc import Iterator

import pytest
import torch

from laconic import waiting
from laconic.codecs.network import pipeline as ahead
from laconic.threads import each, thread_count, using


@pytest.fixture(autouse=True)
def _three_threads(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Of torch, which do not sleep while they wait."""
    for name in waiting.VARIABLES:
        monkeypatch.delenv(name, raising=False)
    before = torch.get_num_threads()
    torch.set_num_threads(3)
    yield
    torch.set_num_threads(before)


def test_results_come_in_order() -> None:
    assert each(lambda a, b: a * b, range(20), range(20)) == [k * k for k in range(20)]
    assert each(lambda a: a, []) == []


def test_parts_run_side_by_side_on_one_thread_of_torch_each() -> None:
    """As many as are there: each waits for the other two."""
    meeting = threading.Barrier(3)

    def work(_: int) -> tuple[int, int]:
        meeting.wait(60)
        return torch.get_num_threads(), thread_count()

    assert each(work, range(3)) == [(1, 1)] * 3
    assert (torch.get_num_threads(), thread_count()) == (3, 3)


def test_nothing_runs_side_by_side_below_each() -> None:
    """Whatever starts threads there: a pool that waits for itself would wait for ever."""

    def work(_: int) -> list[int]:
        with using(3, alone=True):
            assert torch.get_num_threads() == 1
            return each(lambda k: k, range(3))

    assert each(work, range(6)) == [[0, 1, 2]] * 6


def test_tensors_are_worked_on_side_by_side_below_using() -> None:
    """The codec of networks counts our own threads, not the one that torch has there."""
    meeting = threading.Barrier(3)

    def work() -> int:
        meeting.wait(60)
        return torch.get_num_threads()

    with using():
        jobs = [(ahead.SMALL_BYTES, work)] * 3
        assert list(ahead.run_ahead(jobs, thread_count())) == [1, 1, 1]


def test_everything_is_put_back() -> None:
    with using(2):
        assert (torch.get_num_threads(), thread_count()) == (1, 2)
        with using():
            assert thread_count() == 2
    with pytest.raises(RuntimeError), using(2):
        raise RuntimeError
    assert (torch.get_num_threads(), thread_count()) == (3, 3)


def test_inference_mode_is_as_it_is_here() -> None:
    def work(_: int) -> bool:
        return torch.is_inference_mode_enabled()

    assert each(work, range(2)) == [False, False]
    with torch.inference_mode():
        assert each(work, range(2)) == [True, True]


def test_an_error_reaches_the_caller() -> None:
    with pytest.raises(ZeroDivisionError):
        each(lambda k: 1 // k, range(3))


@pytest.mark.parametrize(
    ("name", "value", "expected"),
    [
        ("OMP_WAIT_POLICY", "passive", 3),
        ("OMP_WAIT_POLICY", "PASSIVE", 3),
        ("GOMP_SPINCOUNT", "0", 3),
        ("KMP_BLOCKTIME", "0", 3),
        ("OMP_WAIT_POLICY", "active", 1),
        ("GOMP_SPINCOUNT", "1000", 1),
        ("LACONIC_NOTHING", "", 1),
    ],
)
def test_a_network_alone_takes_threads_that_sleep(
    monkeypatch: pytest.MonkeyPatch, name: str, value: str, expected: int
) -> None:
    monkeypatch.setenv(name, value)
    with using(alone=True):
        assert torch.get_num_threads() == expected
    with using():
        assert torch.get_num_threads() == 1


def test_what_the_user_chose_stays(monkeypatch: pytest.MonkeyPatch) -> None:
    waiting.wait_asleep()
    assert os.environ["OMP_WAIT_POLICY"] == "passive"
    monkeypatch.delenv("OMP_WAIT_POLICY")
    monkeypatch.setenv("GOMP_SPINCOUNT", "1000")
    waiting.wait_asleep()
    assert "OMP_WAIT_POLICY" not in os.environ


def test_scipy_is_hidden_in_processes_of_the_command_line_alone(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(waiting, "LEFT_OUT", "no_such.module")
    monkeypatch.setattr(waiting, "_is_alone", False)  # Tests of commands may have set it.
    with waiting.without_scipy():
        assert "no_such.module" not in sys.modules
    monkeypatch.setattr(waiting, "_is_alone", True)
    with waiting.without_scipy():
        assert sys.modules["no_such.module"] is None
    assert "no_such.module" not in sys.modules
