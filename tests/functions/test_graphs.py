"""Orderings, edges and priors of random graphs."""

from graphlib import TopologicalSorter

import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from laconic.functions.graphs import (
    drawn_edges,
    latent_prior,
    log_edge_probability,
    may_follow,
    ordering,
    relaxed_edges,
)


def slow_ordering(u: Tensor) -> list[float]:
    """Point by point, dimension by dimension."""
    normal = torch.distributions.Normal(0.0, 1.0)
    return [sum(float(normal.cdf(one).log()) for one in point) for point in u]


def test_the_ordering_is_the_sum_of_log_cdfs() -> None:
    u = torch.randn(6, 3, dtype=torch.float64)
    torch.testing.assert_close(
        ordering(u), torch.tensor(slow_ordering(u), dtype=torch.float64), rtol=1e-6, atol=1e-6
    )


def test_the_ordering_is_finite_where_the_cdf_is_zero() -> None:
    """The logarithm of a float32 CDF is -infinity from -14 on, where points would tie."""
    u = torch.tensor([[-20.0], [-30.0], [-40.0]], requires_grad=True)
    t = ordering(u)
    assert t.isfinite().all()
    assert t[0] > t[1] > t[2]
    t.sum().backward()
    assert u.grad is not None
    assert u.grad.isfinite().all()


def test_a_point_above_in_every_dimension_comes_later() -> None:
    u = torch.randn(50, 4)
    above = u + torch.rand(50, 4) + 1e-3
    assert (ordering(above) > ordering(u)).all()


@settings(max_examples=30, deadline=None)
@given(seed=st.integers(0, 10_000), count=st.integers(1, 9), dim=st.integers(1, 3))
def test_graphs_have_no_circle(seed: int, count: int, dim: int) -> None:
    """Ties, as of equal points, included."""
    generator = torch.Generator().manual_seed(seed)
    u = torch.randint(-2, 3, (count, dim), generator=generator).float()
    mask = may_follow(u)
    assert not mask.diagonal().any()
    parents = {i: [j for j in range(count) if mask[i, j]] for i in range(count)}
    list(TopologicalSorter(parents).static_order())  # Raises where there is a circle.


def test_edges_of_all_pairs_equal_those_of_one_pair() -> None:
    u, v = torch.randn(2, 5, 3, dtype=torch.float64), torch.randn(2, 4, 3, dtype=torch.float64)
    log_precision = torch.tensor(0.3, dtype=torch.float64)
    found = log_edge_probability(u, v, log_precision)
    for s, i, j in torch.cartesian_prod(torch.arange(2), torch.arange(5), torch.arange(4)):
        distance = (u[s, i] - v[s, j]).square().sum()
        torch.testing.assert_close(found[s, i, j], -0.5 * log_precision.exp() * distance)


def test_relaxed_edges_round_to_bernoulli_draws() -> None:
    """P(relaxed > 1/2) = g; four standard errors, false alarm 6e-5 for each of three."""
    log_g = torch.tensor([0.1, 0.5, 0.9]).log().expand(40_000, 3)
    for draws in (relaxed_edges(log_g, 0.3) > 0.5, drawn_edges(log_g) > 0):
        share = draws.float().mean(0)
        g = torch.tensor([0.1, 0.5, 0.9])
        assert ((share - g).abs() < 4 * (g * (1 - g) / 40_000).sqrt()).all()


def test_equal_embeddings_have_an_edge_with_finite_gradients() -> None:
    log_g = torch.zeros(3, requires_grad=True)
    edges = relaxed_edges(log_g, 0.3)
    edges.sum().backward()
    assert (edges > 0.99).all()
    assert log_g.grad is not None
    assert log_g.grad.isfinite().all()


def test_far_points_have_no_edge_and_finite_gradients() -> None:
    log_g = torch.tensor([-1e4, -200.0], requires_grad=True)
    edges = relaxed_edges(log_g, 0.3)
    edges.sum().backward()
    assert (edges == 0).all()
    assert log_g.grad is not None
    assert log_g.grad.isfinite().all()


def test_a_prior_averages_the_parents() -> None:
    means, log_scales = torch.randn(3, 2), torch.randn(3, 2)
    edges = torch.tensor([[1.0, 0, 1], [0, 1, 0], [0, 0, 0]])
    prior = latent_prior(edges, means, log_scales)
    torch.testing.assert_close(prior.mean[0], (means[0] + means[2]) / 2)
    torch.testing.assert_close(prior.stddev[0], ((log_scales[0] + log_scales[2]) / 2).exp())
    torch.testing.assert_close(prior.mean[1], means[1])
    assert (prior.mean[2] == 0).all()
    assert (prior.stddev[2] == 1).all()
