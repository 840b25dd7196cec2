"""Numbers as colours."""

import numpy as np

from laconic.studio.colours import STOPS, paint, peak_of


def test_brightness_grows_with_the_value() -> None:
    values = np.linspace(0, 2, 64).reshape(1, 64)
    colours = np.asarray(paint(values, 1.0).convert("RGB"))[0].astype(int)
    assert colours[0].tolist() == STOPS[0].tolist()
    assert colours[-1].tolist() == STOPS[-1].tolist()
    assert (np.diff(colours @ [299, 587, 114]) >= 0).all()


def test_the_peak_leaves_out_few_places() -> None:
    values = np.ones((100, 100))
    values[0, :50] = 1000
    assert peak_of(values) == 1
    assert peak_of(np.zeros((2, 2))) > 0
