"""Atoms of PDB files, with the operators of the biological assembly."""

from pathlib import Path

import numpy as np
import pytest

from laconic.data.microscopy.structures import read_atoms
from laconic.errors import InputError

PDB = """\
REMARK 350 BIOMOLECULE: 1
REMARK 350 APPLY THE FOLLOWING TO CHAINS: A
REMARK 350   BIOMT1   1  1.000000  0.000000  0.000000        0.00000
REMARK 350   BIOMT2   1  0.000000  1.000000  0.000000        0.00000
REMARK 350   BIOMT3   1  0.000000  0.000000  1.000000        0.00000
REMARK 350   BIOMT1   2 -1.000000  0.000000  0.000000        0.00000
REMARK 350   BIOMT2   2  0.000000 -1.000000  0.000000        0.00000
REMARK 350   BIOMT3   2  0.000000  0.000000  1.000000        0.00000
ATOM      1  CA  ALA A   1       1.000   2.000   3.000  1.00  0.00           C
ATOM      2  N   ALA A   1       4.000   0.000   0.000  0.50  0.00           N
HETATM    3  O   HOH A   2       9.000   9.000   9.000  1.00  0.00           O
END
"""


def test_the_assembly_is_built_and_centred(tmp_path: Path) -> None:
    path = tmp_path / "a.pdb"
    path.write_text(PDB)
    atoms = read_atoms(path)
    assert atoms.weights.tolist() == [6, 3.5, 6, 3.5]
    assert np.average(atoms.places, axis=0, weights=atoms.weights) == pytest.approx([0, 0, 0])
    assert np.linalg.norm(atoms.places[0] - atoms.places[2]) == pytest.approx(20**0.5)
    assert len(read_atoms(path, assembly=False).weights) == 2


def test_other_files_are_refused(tmp_path: Path) -> None:
    for name, text in (("a.pdb", "hello\n"), ("b.cif", "hello\n")):
        (tmp_path / name).write_text(text)
        with pytest.raises(InputError, match=name):
            read_atoms(tmp_path / name)
    with pytest.raises(InputError, match=r"missing\.pdb"):
        read_atoms(tmp_path / "missing.pdb")


def test_groel_is_a_ring_of_fourteen(data_root: Path) -> None:
    atoms = read_atoms(data_root / "cryo-em" / "groel_1oel.pdb.gz")
    assert len(atoms.weights) == 14 * 3847
