"""Bounds of what tabs keep."""

from dataclasses import replace

from laconic.studio.settings import Limits
from laconic.studio.store import Store

LIMITS = replace(Limits(), sessions=2, session_bytes=100, total_bytes=150)


def test_a_tab_gets_its_own_files_alone() -> None:
    store = Store(LIMITS)
    name = store.put("a", b"x" * 10, "image/png")
    found = store.get("a", name)
    assert found is not None
    assert (found.data, found.media_type) == (b"x" * 10, "image/png")
    assert store.get("b", name) is None
    assert store.get("a", "other") is None


def test_the_files_used_least_recently_are_dropped() -> None:
    store = Store(LIMITS)
    first, second = store.put("a", b"1" * 40, ""), store.put("a", b"2" * 40, "")
    assert store.get("a", first)
    third = store.put("a", b"3" * 40, "")
    assert store.get("a", second) is None
    assert store.get("a", first)
    assert store.get("a", third)
    assert store.size_bytes == 80
    assert store.get("a", store.put("a", b"4" * 500, ""))


def test_the_tabs_used_least_recently_are_dropped() -> None:
    store = Store(LIMITS)
    names = {tab: store.put(tab, b"x" * 60, "") for tab in "ab"}
    assert store.get("a", names["a"])
    names["c"] = store.put("c", b"x", "")
    assert [bool(store.get(tab, names[tab])) for tab in "abc"] == [True, False, True]
    names["d"] = store.put("d", b"x" * 99, "")
    assert [bool(store.get(tab, names[tab])) for tab in "abcd"] == [False, False, True, True]
