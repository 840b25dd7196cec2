"""Panels of bands."""

import torch

from laconic.distributions.prediction import RegressionPrediction
from laconic.evaluation.functions.bands import Panels, draw_bands


def test_a_panel_has_points_a_mean_and_a_band_of_three_deviations() -> None:
    grid = torch.linspace(-1, 1, 5)[:, None]
    prediction = RegressionPrediction(torch.zeros(4, 5, 1), torch.full((1, 1, 1), 0.25))
    row = Panels("toy", (grid[:3], grid[:3]), grid, {"a": prediction, "b": prediction})
    sheet = draw_bands([row, row])
    axes = sheet.axes
    assert [one.get_title() for one in axes] == ["a, toy", "b, toy"] * 2
    band = axes[0].collections[0].get_paths()[0].vertices
    assert float(band[:, 1].max()) == 1.5
    assert float(band[:, 1].min()) == -1.5
    assert len(axes[0].lines[1].get_xdata()) == 3
