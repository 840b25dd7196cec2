"""Pack the averaged weights of a run into the embedded joint system.

python experiments/channels/photographs/pack.py runs/channels/photographs [--tolerance 0.02]
"""

import argparse
from pathlib import Path

from laconic.pretrained.channels import EMBEDDED, pack_system
from laconic.pretrained.registry import folder
from laconic.training import checkpoints
from laconic.training.loop import CHECKPOINT

OUT = folder() / f"{EMBEDDED}.lac"


def main() -> None:
    """Read the checkpoint, write the file."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("run", type=Path)
    parser.add_argument("--tolerance", type=float, default=0.02)
    options = parser.parse_args()
    state, meta = checkpoints.load_average(options.run / CHECKPOINT)
    data = pack_system(meta["system"], state, options.tolerance, meta["step"])
    OUT.write_bytes(data)
    print(f"{OUT.name}: {len(data):,} bytes, {meta['step']} steps")


if __name__ == "__main__":
    main()
