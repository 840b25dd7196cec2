"""Gated residual blocks: in strips as at once."""

import pytest
import torch

from laconic.networks import gated_residual
from laconic.networks.gated_residual import GatedStack


@pytest.mark.parametrize("shape", [(1, 6, 33, 20), (2, 6, 7, 5), (1, 6, 1, 3)])
def test_strips_change_nothing(shape: tuple[int, ...], monkeypatch: pytest.MonkeyPatch) -> None:
    torch.manual_seed(0)
    stack = GatedStack(6, 8, 3, 4, 5).eval()
    for parameter in stack.parameters():
        torch.nn.init.normal_(parameter, std=0.3)
    x, embedding = torch.randn(shape), torch.randn(shape[0], 4)
    whole = stack(x, embedding)
    assert whole.requires_grad
    sizes = []
    mix = gated_residual.GatedBlock._mix

    def counted(self: object, x: torch.Tensor, *rest: torch.Tensor) -> torch.Tensor:
        sizes.append(x.shape[2])
        return mix(self, x, *rest)  # type: ignore[arg-type]

    monkeypatch.setattr(gated_residual.GatedBlock, "_mix", counted)
    monkeypatch.setattr(gated_residual, "STRIP", 4 * shape[0] * 8 * shape[3])
    with torch.inference_mode():
        strips = stack(x, embedding)
    torch.testing.assert_close(strips, whole.detach(), rtol=1e-6, atol=1e-6)
    assert max(sizes) == min(4, shape[2])
    assert sum(sizes) == 3 * shape[2]
