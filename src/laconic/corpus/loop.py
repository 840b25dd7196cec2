"""The loop over the missing units of a corpus: an engine, bounded retries, the manifest."""

import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass, field
from typing import Any, Final

from laconic.corpus import units
from laconic.corpus.engines.base import Died, Engine, Result
from laconic.corpus.manifest import Record
from laconic.corpus.plan import Plan, Unit
from laconic.errors import InputError
from laconic.paths import StoredPath

WORK: Final = {
    "compress": units.compress,
    "decompress": units.decompress,
    "evaluate": units.evaluate,
}
RETRIES: Final = 2
"""How often a unit is tried again in one run."""
WAIT_SECONDS: Final = 1.0
"""Before the first tries are repeated; twice as long before each later round."""

Report = Callable[[int, int, int], None]
"""Called with the units done, all units, and the units that failed."""


@dataclass
class Summary:
    """What came of a run.

    Attributes:
        pictures: units of the corpus.
        before: done by earlier runs.
        done: now.
        retried: tries that failed and were repeated.
        failed: errors by the name of the picture; those are missing.
        input_bytes: of all that is done.
        bytes: of all that is done, on disk.
        seconds: of this run, on the clock.
    """

    pictures: int
    before: int = 0
    done: int = 0
    retried: int = 0
    failed: dict[str, str] = field(default_factory=dict)
    input_bytes: int = 0
    bytes: int = 0
    seconds: float = 0.0

    def to_dict(self, records: Sequence[Record]) -> dict[str, Any]:
        """Plain values for `--json`, with the means over what is done."""
        rate = self.done / self.seconds if self.seconds else None
        means = {f"mean_{key}": _mean(records, key) for key in ("bpp", "psnr", "ms_ssim")}
        return vars(self) | {"pictures_per_second": rate} | means


def run(
    plan: Plan,
    engine: Engine,
    options: Mapping[str, Any],
    retries: int = RETRIES,
    report: Report = lambda done, total, failed: None,
) -> Summary:
    """Do the missing units; each is in the manifest as soon as it is done or has failed.

    A unit whose process died, or whose store did not answer, is tried again after the others. An
    interruption loses nothing that is done.

    Args:
        plan: what is missing.
        engine: where it is done.
        options: for the function of `laconic.corpus.units`.
        retries: how often a unit is tried again.
        report: called after each unit.

    Raises:
        InputError: the engine's processes cannot see a path.
    """
    _check_reach(plan, engine)
    summary = Summary(len(plan.units), before=len(plan.units) - len(plan.missing))
    start, waiting = time.monotonic(), list(plan.missing)
    try:
        for tries in range(1, retries + 2):
            if tries > 1:
                time.sleep(WAIT_SECONDS * 2 ** (tries - 2))
            last = tries == retries + 1
            waiting = _round(plan, engine, options, waiting, tries, last, summary, report)
            if not waiting:
                break
    finally:
        plan.manifest.save()
    plan.manifest.compact()
    summary.seconds = time.monotonic() - start
    for record in done_records(plan):
        summary.input_bytes += record["input_bytes"]
        summary.bytes += record["bytes"]
    return summary


def done_records(plan: Plan) -> list[Record]:
    """The records of the units that are done."""
    found = (plan.manifest.records.get(unit.name) for unit in plan.units)
    return [record for record in found if record is not None and record["error"] is None]


def _round(
    plan: Plan,
    engine: Engine,
    options: Mapping[str, Any],
    waiting: Sequence[Unit],
    tries: int,
    last: bool,
    summary: Summary,
    report: Report,
) -> list[Unit]:
    """Try each unit once; returns those to be tried again."""
    again: list[Unit] = []
    arguments = (_arguments(plan, unit, options) for unit in waiting)
    with closing(engine.run(WORK[plan.action], arguments)) as stream:
        for number, result in stream:
            unit = waiting[number]
            if not last and (result.pop("again", False) or result.get(Died)):
                again.append(unit)
                summary.retried += 1
                continue
            record = _record(unit, result, tries)
            plan.manifest.add(record)
            if record["error"] is None:
                summary.done += 1
            else:
                summary.failed[unit.name] = record["error"]
            done = summary.before + summary.done + len(summary.failed)
            report(done, summary.pictures, len(summary.failed))
    return again


def _arguments(plan: Plan, unit: Unit, options: Mapping[str, Any]) -> tuple[Any, ...]:
    return str(plan.source / unit.name), str(plan.destination / unit.output), dict(options)


def _record(unit: Unit, result: Result, tries: int) -> Record:
    """The manifest's record of a unit that is done or has failed."""
    values = {key: value for key, value in result.items() if key not in ("again", Died)}
    known = {"name": unit.name, "output": unit.output, "error": None}
    return known | {"input_bytes": unit.input_bytes} | values | {"tries": tries}


def _check_reach(plan: Plan, engine: Engine) -> None:
    """Refuse a store in this process's memory for an engine of other processes."""
    for path in (plan.source, plan.destination):
        in_memory = isinstance(path, StoredPath) and str(path).startswith("memory:")
        if in_memory and not engine.shares_memory:
            raise InputError(f"{path} is in the memory of one process; give --jobs 1")


def _mean(records: Sequence[Record], key: str) -> float | None:
    values = [record[key] for record in records if record.get(key) is not None]
    return sum(values) / len(values) if values else None
