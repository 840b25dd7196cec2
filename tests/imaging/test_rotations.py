"""Rotations: RELION's convention with poses that are not the identity, SciPy as the oracle."""

import math
from collections.abc import Sequence

import pytest
import torch
from scipy.spatial.transform import Rotation
from torch import Tensor

from laconic.errors import InputError
from laconic.imaging import rotations


def test_angles_are_relions_passive_zyz() -> None:
    """The matrix that RELION's documentation gives for rot 30, tilt 40, psi 50."""
    a, b, g = (math.radians(angle) for angle in (30, 40, 50))
    first = [
        math.cos(g) * math.cos(b) * math.cos(a) - math.sin(g) * math.sin(a),
        math.cos(g) * math.cos(b) * math.sin(a) + math.sin(g) * math.cos(a),
        -math.cos(g) * math.sin(b),
    ]
    third = [math.sin(b) * math.cos(a), math.sin(b) * math.sin(a), math.cos(b)]
    matrix = rotations.from_angles(torch.tensor([30.0, 40.0, 50.0], dtype=torch.float64))
    assert matrix[0].tolist() == pytest.approx(first)
    assert matrix[2].tolist() == pytest.approx(third)


def test_scipys_active_rotation_is_the_transpose() -> None:
    angles = torch.tensor([[10.0, 20.0, 30.0], [-100.0, 170.0, 45.0]], dtype=torch.float64)
    active = torch.from_numpy(Rotation.from_euler("ZYZ", angles.numpy(), degrees=True).as_matrix())
    assert torch.allclose(rotations.from_angles(angles), active.mT)


def test_angles_and_matrices_are_inverses() -> None:
    turns = rotations.uniform(200, torch.Generator().manual_seed(0))
    polar = rotations.from_angles(
        torch.tensor([[20.0, 0.0, 30.0], [20.0, 180.0, 30.0]], dtype=torch.float64)
    )
    both = torch.cat([turns, polar])
    assert torch.allclose(rotations.from_angles(rotations.to_angles(both)), both, atol=1e-9)


def test_vectors_are_axis_times_angle() -> None:
    vectors = torch.tensor([[0.3, -0.2, 1.1], [0.0, 0.0, 0.0]], dtype=torch.float64)
    expected = Rotation.from_rotvec(vectors.numpy()).as_matrix()
    assert rotations.from_vectors(vectors).numpy() == pytest.approx(expected)


def test_uniform_rotations_have_no_preferred_direction() -> None:
    """The mean of n rotations has entries of standard deviation sqrt(1 / 3 n): five of them."""
    turns = rotations.uniform(3000, torch.Generator().manual_seed(1))
    assert torch.allclose(turns @ turns.mT, torch.eye(3, dtype=torch.float64).expand_as(turns))
    assert float(turns.mean(0).abs().max()) < 5 * (1 / 9000) ** 0.5


def test_beams_of_a_cone_lie_within_it() -> None:
    turns = rotations.cone(500, 15, torch.Generator().manual_seed(2))
    tilts = torch.rad2deg(torch.arccos(turns[:, 2, 2]))
    assert float(tilts.max()) <= 15
    assert float(tilts.max()) > 14
    with pytest.raises(InputError, match="half_angle: 200"):
        rotations.cone(1, 200)


@pytest.mark.parametrize(
    ("name", "order"),
    [("C1", 1), ("C7", 7), ("D7", 14), ("d2", 4), ("T", 12), ("O", 24), ("i1", 60), ("I2", 60),
     ("I3", 60), ("I4", 60)],
)  # fmt: skip
def test_symmetries_are_groups(name: str, order: int) -> None:
    group = rotations.symmetry(name)
    assert len(group) == order
    products = (group[:, None] @ group[None]).flatten(0, 1)
    gaps = (products[:, None] - group[None]).abs().amax((-1, -2))
    assert float(gaps.amin(1).max()) < 1e-9
    assert torch.equal(group[0], torch.eye(3, dtype=torch.float64))
    distinct = (group[:, None] - group[None]).abs().amax((-1, -2)) + torch.eye(order)
    assert float(distinct.min()) > 1e-3


def folds_about(group: Tensor, axis: Sequence[float]) -> int:
    """How many rotations of a group leave an axis as it is."""
    vector = torch.tensor(axis, dtype=torch.float64)
    return int(((group @ vector - vector).norm(dim=1) < 1e-9).sum())


def test_axes_of_polyhedra_lie_where_relion_has_them() -> None:
    """Axes of an icosahedron by its golden ratio; most are not among the generators."""
    golden = (1 + 5**0.5) / 2
    axes = {
        "T": {(0, 0, 1): 3, (0, 2**0.5, 1): 2},
        "O": {(1, 0, 0): 4, (0, 1, 0): 4, (0, 0, 1): 4, (1, 1, 1): 3, (1, 1, 0): 2},
        "I1": {(1, 0, 0): 2, (0, 1, 0): 2, (0, 0, 1): 2, (golden, 0, 1): 5, (1, golden, 0): 5,
               (1, 1, 1): 3},
        "I2": {(1, 0, 0): 2, (0, 1, 0): 2, (0, 0, 1): 2, (1, 0, golden): 5, (0, golden, 1): 5,
               (1, 1, 1): 3},
        "I3": {(0, 0, 1): 5, (-1, 0, golden): 2, (1, 0, golden): 1, (0, 1, 0): 2},
        "I4": {(0, 0, 1): 5, (1, 0, golden): 2, (-1, 0, golden): 1, (0, 1, 0): 2},
    }  # fmt: skip
    for name, folds in axes.items():
        group = rotations.symmetry(name)
        assert {axis: folds_about(group, axis) for axis in folds} == folds, name


def test_an_unknown_symmetry_is_refused() -> None:
    with pytest.raises(InputError, match="symmetry: 'I5' is not"):
        rotations.symmetry("I5")


def test_distances_are_angles_up_to_symmetry() -> None:
    turns = rotations.uniform(20, torch.Generator().manual_seed(3))
    vectors = torch.zeros(20, 3, dtype=torch.float64)
    vectors[:, 0] = torch.linspace(1e-4, 3.1, 20, dtype=torch.float64)
    moved = rotations.from_vectors(vectors) @ turns
    expected = torch.rad2deg(vectors[:, 0])
    assert torch.allclose(rotations.distance(turns, moved), expected, rtol=1e-6)
    group = rotations.symmetry("D7")
    assert torch.allclose(
        rotations.distance(turns, turns @ group[9], group),
        torch.zeros(20, dtype=torch.float64),
        atol=1e-5,
    )
