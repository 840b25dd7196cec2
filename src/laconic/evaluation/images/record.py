"""A comparison of codecs on real files, as results.json and a figure of each quality."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from laconic.container import write_atomically
from laconic.evaluation.images.comparison import QUALITIES, Difference, compare
from laconic.evaluation.images.results import Study, finite, study_to_json
from laconic.evaluation.report.figures import draw_figure, save_figure


def compare_with(study: Study, reference: str) -> list[Difference]:
    """Compare every other codec of a study with one of them, on PSNR and on MS-SSIM.

    Raises:
        InputError: the study has no such codec.
    """
    base = study.curve(reference)
    others = [curve for curve in study.curves if curve is not base]
    return [compare(curve, base, figure) for curve in others for figure in QUALITIES]


def record(
    folder: Path,
    title: str,
    run: Mapping[str, Any],
    study: Study,
    reference: str,
    caption: str,
) -> Sequence[Path]:
    """Write results.json and the figures of a study.

    Args:
        folder: where the files are written; files of an earlier run are replaced.
        title: of the experiment.
        run: from `laconic.evaluation.report.provenance.describe_run`.
        study: what was measured.
        reference: short name of the codec that BD-rates are taken against.
        caption: of the figures, after the name of the quality.

    Returns:
        The paths of all files.

    Raises:
        InputError: the study has no such codec.
    """
    document = {
        "title": title,
        "run": run,
        "comparisons": [asdict(one) for one in compare_with(study, reference)],
        "study": study_to_json(study),
    }
    path = folder / "results.json"
    write_atomically(path, (json.dumps(finite(document), indent=1) + "\n").encode())
    paths = [path]
    for figure, name in QUALITIES.items():
        sheet = draw_figure(study.curves, figure, f"{name} {caption}")
        paths += save_figure(sheet, folder / figure)
    return paths
