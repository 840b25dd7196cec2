"""`python -m laconic_decoder`."""

import sys

from .cli import main

sys.exit(main())
