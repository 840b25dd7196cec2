"""Where the data sets are on this machine."""

import os
from pathlib import Path
from typing import Final

from platformdirs import user_data_path

DATA_VARIABLE: Final = "LACONIC_DATA"
"""The environment variable that names the folder of all data sets."""


def data_root() -> Path:
    """The folder of all data sets: one folder for each set, e.g. `kodak`.

    `LACONIC_DATA` names it; without it, it is a folder of this user (on Linux
    `~/.local/share/laconic`). It need not exist.
    """
    named = os.environ.get(DATA_VARIABLE)
    return Path(named) if named else user_data_path("laconic", appauthor=False)
