"""What must be settled before heavy libraries are loaded: how threads wait, and what is left out.

torch's threads are OpenMP's; they wait for each other in busy loops by default, or asleep. The
variables below are read once, when torch is loaded.
"""

import contextlib
import os
import sys
from collections.abc import Iterator
from typing import Final

POLICY, SPINS, BLOCK_TIME = "OMP_WAIT_POLICY", "GOMP_SPINCOUNT", "KMP_BLOCKTIME"
VARIABLES: Final = (POLICY, SPINS, BLOCK_TIME)

LEFT_OUT: Final = "scipy.linalg"
"""What the command line does not load."""
_is_alone = False


def wait_asleep() -> None:
    """Let OpenMP's threads sleep while they wait, unless the user chose; before torch is loaded."""
    if not any(name in os.environ for name in VARIABLES):
        os.environ[POLICY] = "passive"


def is_asleep() -> bool:
    """Whether OpenMP's threads sleep while they wait."""
    policy, spins, block_time = (os.environ.get(name, "").lower() for name in VARIABLES)
    return policy == "passive" or "0" in (spins, block_time)


def run_alone() -> None:
    """Note that this process runs Laconic's command line, and no code of others."""
    global _is_alone
    _is_alone = True


@contextlib.contextmanager
def without_scipy() -> Iterator[None]:
    """Hide scipy's linear algebra from what is imported within, in processes of the command line.

    numba loads all of scipy's linear algebra to see whether its compiled loops may use it. Ours do
    not, and loading takes as long as decoding a picture; others' loops in the same process might.
    """
    hidden = _is_alone and LEFT_OUT not in sys.modules
    if hidden:
        sys.modules[LEFT_OUT] = None  # type: ignore[assignment]
    try:
        yield
    finally:
        if hidden:
            del sys.modules[LEFT_OUT]
