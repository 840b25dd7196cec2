"""The engine without processes: jobs run here, one after another."""

from collections.abc import Generator, Iterable
from typing import Any, ClassVar, final

from laconic.corpus.engines.base import Engine, Job, Result, run_job


@final
class Here(Engine):
    """Runs each job when its result is taken."""

    id: ClassVar[str] = "here"
    shares_memory: ClassVar[bool] = True

    def run(
        self, job: Job, arguments: Iterable[tuple[Any, ...]]
    ) -> Generator[tuple[int, Result], None, None]:
        """Run the jobs in order."""
        for number, some in enumerate(arguments):
            yield number, run_job(job, some)
