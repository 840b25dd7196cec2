"""Ray: tasks on the machines of a cluster, or on this machine (extra `cluster`).

A task costs Ray some milliseconds. So a task holds as many jobs as take about `TASK_SECONDS`, by
the time that earlier ones took. Where its process dies, each of its jobs is run in a task of its
own, so that only the one which ends its process is said to have died.
"""

import contextlib
import os
import sys
import time
from collections.abc import Generator, Iterable, Iterator, Sequence
from itertools import islice
from typing import Any, ClassVar, Final, final

from laconic.corpus.engines.base import DEATH, Engine, Job, Result, run_job
from laconic.errors import InputError, MissingPackageError
from laconic.limits import allow_large_pictures

AHEAD: Final = 2
"""Tasks in flight for each processor: one at work, one on its way."""
TASK_SECONDS: Final = 0.5
"""About how long a task should take."""
MOST_JOBS: Final = 100
"""Jobs of a task, at most."""
GROWTH: Final = 4
"""How many times more jobs than the last task the next may hold."""
SETTINGS: Final = {
    "RAY_USAGE_STATS_ENABLED": "0",
    "RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO": "0",
    "RAY_agent_register_timeout_ms": "300000",
    "RAY_raylet_start_wait_time_s": "300",
}
"""No request leaves the machine, no warning about accelerators; a busy machine starts slowly."""


@contextlib.contextmanager
def _stdout_on_stderr() -> Iterator[None]:
    """Send what this process writes to stdout to stderr."""
    sys.stdout.flush()
    kept = os.dup(1)
    os.dup2(2, 1)
    try:
        yield
    finally:
        sys.stdout.flush()
        os.dup2(kept, 1)
        os.close(kept)


Group = Sequence[tuple[int, tuple[Any, ...]]]
"""The jobs of a task: their numbers and arguments."""


def _run(job: Job, group: Group) -> tuple[list[Result], float]:
    """Run jobs in a process of the cluster; returns their results, and seconds."""
    allow_large_pictures()
    start = time.perf_counter()
    found = [run_job(job, arguments) for _, arguments in group]
    return found, time.perf_counter() - start


class Groups:
    """Divides jobs into groups of about `TASK_SECONDS`.

    Args:
        arguments: of all jobs.
    """

    def __init__(self, arguments: Iterable[tuple[Any, ...]]) -> None:
        self.waiting = enumerate(arguments)
        self.alone: list[Group] = []
        self.size = 1

    def next(self) -> Group:
        """The jobs of the next task; empty where none is left."""
        return self.alone.pop(0) if self.alone else tuple(islice(self.waiting, self.size))

    def took(self, jobs: int, seconds: float) -> None:
        """Choose the size of the groups to come by the time that a task took."""
        wanted = int(TASK_SECONDS * jobs / max(seconds, 1e-6))
        self.size = max(1, min(wanted, GROWTH * self.size, MOST_JOBS))

    def died(self, group: Group) -> bool:
        """Whether the jobs of a task whose process died are run again, each alone."""
        if len(group) == 1:
            return False
        self.alone += [(item,) for item in group]
        return True


@final
class Ray(Engine):
    """Tasks of a Ray cluster, each on one processor.

    Args:
        jobs: processors of the Ray that is started here where no address is given.
        address: of a cluster, e.g. "auto" or "ray://host:10001".
    """

    id: ClassVar[str] = "ray"

    def __init__(self, jobs: int, address: str | None = None) -> None:
        self.jobs, self.address = jobs, address
        os.environ.update({name: os.environ.get(name, value) for name, value in SETTINGS.items()})
        try:
            import ray
        except ImportError as error:
            raise MissingPackageError("the engine ray needs", "ray", "cluster") from error
        self.ray: Any = ray

    def run(
        self, job: Job, arguments: Iterable[tuple[Any, ...]]
    ) -> Generator[tuple[int, Result], None, None]:
        """Run the jobs as tasks; Ray itself repeats none, so that every death is seen.

        What is printed to stdout meanwhile goes to stderr: Ray prints there when processes die.
        """
        with _stdout_on_stderr():
            yield from self._run(job, arguments)

    def _run(
        self, job: Job, arguments: Iterable[tuple[Any, ...]]
    ) -> Generator[tuple[int, Result], None, None]:
        most = AHEAD * self._connect()
        task = self.ray.remote(max_retries=0, num_cpus=1)(_run)
        groups, pending = Groups(arguments), dict[Any, Group]()

        def refill() -> None:
            while len(pending) < most and (group := groups.next()):
                pending[task.remote(job, group)] = group

        try:
            refill()
            while pending:
                ended, _ = self.ray.wait(list(pending), num_returns=1)
                group = pending.pop(ended[0])
                results = self._results(ended[0], group, groups)
                refill()
                for (number, _), result in zip(group, results, strict=False):
                    yield number, result
        finally:
            for one in pending:
                self.ray.cancel(one, force=True)
            self.ray.shutdown()

    def _connect(self) -> int:
        """Connect to the cluster, or start Ray here; returns the number of processors.

        Raises:
            InputError: there is no cluster at the address.
        """
        quiet: dict[str, Any] = {
            "logging_level": "ERROR",
            "log_to_driver": False,
            "configure_logging": False,
        }
        if self.address is None:
            quiet |= {"num_cpus": self.jobs, "include_dashboard": False}
        try:
            self.ray.init(address=self.address or "local", **quiet)
        except Exception as error:  # Ray's errors have no common class.
            where = self.address or "this machine"
            raise InputError(f"Ray cannot be reached at {where}: {error}") from error
        return max(1, int(self.ray.cluster_resources().get("CPU", 1)))

    def _results(self, reference: Any, group: Group, groups: Groups) -> list[Result]:
        """The results of a task, or the death of its process; none where its jobs run again."""
        errors = self.ray.exceptions
        try:
            found: tuple[list[Result], float] = self.ray.get(reference)
        except errors.RayTaskError:  # An exception of the job.
            raise
        except errors.RayError:  # Its process or its machine is gone.
            return [] if groups.died(group) else [dict(DEATH)]
        groups.took(len(group), found[1])
        return found[0]
