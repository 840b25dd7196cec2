"""What a browser may request of a worker."""

import pytest

from laconic.errors import InputError
from laconic.studio.orders import read_order


def test_orders() -> None:
    order = read_order({"task": "encode", "source": "a", "quality": 40, "effort": 2})
    assert order.fields == {"lossless": False, "effort": 2, "quality": 40.0, "tune": None}
    assert order.slot == "encode"
    assert read_order({"task": "encode", "source": "a", "bpp": 0.5}).fields["bpp"] == 0.5
    lossless = {"task": "encode", "source": "a", "lossless": True, "quality": "?"}
    assert read_order(lossless).fields == {"lossless": True, "effort": None}
    compare = {"task": "compare", "source": "a", "name": "jpeg", "bytes": 100}
    assert read_order(compare).slot == "compare jpeg"
    assert read_order({"task": "level", "source": "a", "level": 3}).fields == {"level": 3}
    assert read_order({"task": "bits", "source": "a"}).fields == {"level": None}


@pytest.mark.parametrize(
    ("order", "named"),
    [
        ([], "task"),
        ({"source": "a"}, "task"),
        ({"task": "read", "source": "a"}, "task"),
        ({"task": ["encode"], "source": "a"}, "task"),
        ({"task": "encode", "quality": 50}, "source"),
        ({"task": "encode", "source": 3, "quality": 50}, "source"),
        ({"task": "encode", "source": "a"}, "quality"),
        ({"task": "encode", "source": "a", "quality": 101}, "quality"),
        ({"task": "encode", "source": "a", "quality": float("nan")}, "quality"),
        ({"task": "encode", "source": "a", "quality": True}, "quality"),
        ({"task": "encode", "source": "a", "quality": "50"}, "quality"),
        ({"task": "encode", "source": "a", "bpp": 0}, "bpp"),
        ({"task": "encode", "source": "a", "quality": 50, "effort": 10}, "effort"),
        ({"task": "encode", "source": "a", "quality": 50, "effort": 1.5}, "effort"),
        ({"task": "encode", "source": "a", "quality": 50, "tune": 3}, "tune"),
        ({"task": "level", "source": "a"}, "level"),
        ({"task": "level", "source": "a", "level": 0}, "level"),
        ({"task": "bits", "source": "a", "level": 0}, "level"),
        ({"task": "compare", "source": "a", "name": "../jpeg", "bytes": 10}, "name"),
        ({"task": "compare", "source": "a", "name": "jpeg", "bytes": -1}, "bytes"),
    ],
)
def test_what_is_no_order_is_refused(order: object, named: str) -> None:
    with pytest.raises(InputError, match=named):
        read_order(order)
