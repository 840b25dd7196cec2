"""PDB and mmCIF files -> the atoms of the biological assembly, by gemmi."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from laconic.errors import InputError, MissingPackageError


@dataclass(frozen=True)
class Atoms:
    """Atoms of a structure.

    Attributes:
        places: (atoms, 3), float64: x, y, z in angstroms, from the centre of mass.
        weights: (atoms,), float64: atomic numbers times occupancies; what scatters electrons.
    """

    places: NDArray[np.float64]
    weights: NDArray[np.float64]


def read_atoms(path: Path, assembly: bool = True) -> Atoms:
    """The atoms of a file's first model, without water.

    Args:
        path: of a PDB or mmCIF file, also compressed with gzip.
        assembly: apply the operators of the first biological assembly (REMARK 350 of PDB files),
            where the file names one.

    Raises:
        InputError: the file is missing, is not such a file or holds no atoms.
        MissingPackageError: gemmi is not installed.
    """
    try:
        import gemmi
    except ImportError as error:
        raise MissingPackageError("Atomic models need", "gemmi", "cryoem") from error
    try:
        structure = gemmi.read_structure(str(path))
    except (OSError, RuntimeError, ValueError) as error:
        raise InputError(f"{path}: not a readable PDB or mmCIF file ({error})") from error
    if len(structure) == 0:
        raise InputError(f"{path}: it holds no model of atoms")
    try:
        places, weights = _scatterers(structure, assembly)
    except (RuntimeError, ValueError) as error:  # An assembly of chains that the file lacks.
        raise InputError(f"{path}: not a consistent PDB or mmCIF file ({error})") from error
    if sum(weights) <= 0:
        raise InputError(f"{path}: it holds no atoms")
    found, mass = np.array(places, np.float64), np.array(weights, np.float64)
    return Atoms(found - np.average(found, axis=0, weights=mass), mass)


def _scatterers(structure: Any, assembly: bool) -> tuple[list[list[float]], list[float]]:
    """Positions of the atoms of the first model, without water, and their weights."""
    import gemmi

    model = structure[0]
    if assembly and len(structure.assemblies) > 0:
        naming = gemmi.HowToNameCopiedChain.AddNumber
        model = gemmi.make_assembly(structure.assemblies[0], model, naming)
    places, weights = [], []
    for item in model.all():
        if not item.residue.is_water():
            places.append(item.atom.pos.tolist())
            weights.append(item.atom.element.atomic_number * item.atom.occ)
    return places, weights
