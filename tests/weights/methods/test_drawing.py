"""Outputs that are drawn in place of weights."""

import torch

from laconic.weights.methods.drawing import draw_outputs


def test_drawn_outputs_have_the_requested_moments_in_any_order_of_memory() -> None:
    """Five standard errors: a false alarm in a million runs; the seed is fixed."""
    torch.manual_seed(0)
    mean = torch.randn(50, 3, 40, 50)
    scale = torch.rand(mean.shape) + 0.1
    for order in (torch.contiguous_format, torch.channels_last):
        drawn = draw_outputs(mean.to(memory_format=order), (scale**2).to(memory_format=order))
        noise = (drawn - mean) / scale
        count = noise.numel()
        assert abs(float(noise.mean())) < 5 / count**0.5
        assert abs(float(noise.square().mean()) - 1) < 5 * (2 / count) ** 0.5
        flat = noise.flatten()
        assert abs(float((flat[1:] * flat[:-1]).mean())) < 5 / count**0.5
        assert drawn.stride() == mean.to(memory_format=order).stride()
