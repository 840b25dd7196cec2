"""Files of electron microscopy: maps (MRC), particles (STAR and MRC stacks), atoms (PDB, mmCIF)."""
