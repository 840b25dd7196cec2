"""One target, guided by coverage: `python fuzz/guided.py TARGET [libFuzzer options]`.

It needs atheris (`pip install atheris`). Alterations are those of `mutation.py`.
"""

import sys
from pathlib import Path
from random import Random

sys.path.insert(0, str(Path(__file__).parent))

import atheris

with atheris.instrument_imports(include=["laconic"]):
    from targets import TARGETS


def main() -> None:
    """Read the command line, and run until a fault is found."""
    if len(sys.argv) < 2 or sys.argv[1] not in TARGETS:
        sys.exit(f"usage: python fuzz/guided.py {{{','.join(TARGETS)}}} [options of libFuzzer]")
    target = TARGETS[sys.argv.pop(1)]
    seeds = target.seeds()

    def change(data: bytes, most: int, seed: int) -> bytes:
        source = Random(seed)
        return target.alter(data or source.choice(seeds), source, source.choice(seeds))[:most]

    atheris.Setup(sys.argv, target.run, custom_mutator=change)
    atheris.Fuzz()


if __name__ == "__main__":
    main()
