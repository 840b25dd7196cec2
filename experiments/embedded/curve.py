"""Quality of weights on the validation photographs: one row of the curve against iterations.

    python experiments/embedded/curve.py [WEIGHTS ...]

Rates are ideal code lengths (KL) in bits per pixel of whole photographs; a row for the same number
of iterations is replaced.
"""

import json
import sys
import time
from dataclasses import asdict
from pathlib import Path
from typing import Any

from laconic.data.datasets import data_root
from laconic.data.patches import load_images, read_split
from laconic.evaluation.images.ideal import ideal_curve
from laconic.evaluation.report.provenance import describe_run
from laconic.pretrained import load

HERE = Path(__file__).parent
RESULTS = HERE / "results.json"
PHOTOGRAPHS, POINTS, SEED = 12, 5, 0


def row(weights: str) -> dict[str, Any]:
    """The rate-distortion curve of one set of weights."""
    released = load(weights)
    images = load_images(read_split(data_root() / "photos", "valid")[:PHOTOGRAPHS])
    points = [asdict(point) for point in ideal_curve(released.model, images, POINTS, seed=SEED)]
    return {"iterations": released.steps, "photographs": len(images), "points": points}


def main() -> None:
    """Measure the named weights, or the embedded model's."""
    started = time.time()
    rows = json.loads(RESULTS.read_text())["rows"] if RESULTS.exists() else []
    for weights in sys.argv[1:] or ["default"]:
        new = row(weights)
        rows = [old for old in rows if old["iterations"] != new["iterations"]] + [new]
        print(json.dumps(new, indent=1))
    rows.sort(key=lambda each: each["iterations"])
    command = "python experiments/embedded/curve.py"
    run = describe_run(command, started, HERE.parents[1], seeds=[SEED])
    RESULTS.write_text(json.dumps({"run": run, "rows": rows}, indent=1) + "\n")


if __name__ == "__main__":
    main()
