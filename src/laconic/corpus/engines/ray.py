"""Ray: tasks on the machines of a cluster, or on this machine (extra `cluster`)."""

import contextlib
import os
import sys
from collections.abc import Generator, Iterable, Iterator
from typing import Any, ClassVar, Final, final

from laconic.corpus.engines.base import DEATH, Engine, Job, Result, run_job
from laconic.errors import InputError, MissingPackageError
from laconic.limits import allow_large_pictures

AHEAD: Final = 2
"""Tasks in flight for each processor: one at work, one on its way."""
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


def _run(job: Job, arguments: tuple[Any, ...]) -> Result:
    """Run a job in a process of the cluster."""
    allow_large_pictures()
    return run_job(job, arguments)


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
        numbered, pending = enumerate(arguments), dict[Any, int]()

        def refill() -> None:
            while len(pending) < most and (item := next(numbered, None)) is not None:
                pending[task.remote(job, item[1])] = item[0]

        try:
            refill()
            while pending:
                ended, _ = self.ray.wait(list(pending), num_returns=1)
                ready = [(pending.pop(one), self._result(one)) for one in ended]
                refill()
                yield from ready
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

    def _result(self, reference: Any) -> Result:
        """The result of a task, or the death of its process."""
        errors = self.ray.exceptions
        try:
            found: Result = self.ray.get(reference)
        except errors.RayTaskError:  # An exception of the job.
            raise
        except errors.RayError:  # Its process or its machine is gone.
            return dict(DEATH)
        return found
