"""How OpenMP's threads wait for each other: in busy loops by default, or asleep.

torch's threads are OpenMP's. The variables below are read once, when torch is loaded.
"""

import os
from typing import Final

POLICY, SPINS, BLOCK_TIME = "OMP_WAIT_POLICY", "GOMP_SPINCOUNT", "KMP_BLOCKTIME"
VARIABLES: Final = (POLICY, SPINS, BLOCK_TIME)


def wait_asleep() -> None:
    """Let OpenMP's threads sleep while they wait, unless the user chose; before torch is loaded."""
    if not any(name in os.environ for name in VARIABLES):
        os.environ[POLICY] = "passive"


def is_asleep() -> bool:
    """Whether OpenMP's threads sleep while they wait."""
    policy, spins, block_time = (os.environ.get(name, "").lower() for name in VARIABLES)
    return policy == "passive" or "0" in (spins, block_time)
