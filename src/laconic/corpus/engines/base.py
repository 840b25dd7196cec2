"""What an engine does: it runs jobs and gives their results as they are ready."""

from abc import ABC, abstractmethod
from collections.abc import Callable, Generator, Iterable, Iterator, Sequence
from contextlib import closing, contextmanager
from typing import Any, ClassVar, Final

from laconic.errors import InputError, LaconicError

Result = dict[str, Any]
"""What a job returns; it has the key "error" where the job failed."""
Job = Callable[..., Result]
"""A function of a module, whose arguments and result can be sent to another process."""

Died: Final = "died"
"""Key of a result whose process was ended from outside."""
DEATH: Final = {"error": "a process was ended from outside; give a smaller --jobs", Died: True}


class Engine(ABC):
    """Runs jobs in processes; stateless between two calls of `run`."""

    id: ClassVar[str]
    shares_memory: ClassVar[bool] = False
    """Whether jobs run in this process, so that they see what is in its memory."""

    @abstractmethod
    def run(
        self, job: Job, arguments: Iterable[tuple[Any, ...]]
    ) -> Generator[tuple[int, Result], None, None]:
        """Run a job for each arguments; closing the generator stops all.

        Only a bounded number of arguments is taken before results are consumed. A `LaconicError` of
        a job becomes its result, and so does the death of its process (`Died`): no other job is
        lost with it. Other errors of a job are raised here.

        Yields:
            The number of the arguments, and the result, as they are ready.
        """

    @contextmanager
    def in_order(
        self, job: Job, arguments: Sequence[tuple[Any, ...]]
    ) -> Iterator[list[Callable[[], Result]]]:
        """Begin all jobs; yields for each a function that waits for its result.

        On an error or an interruption no further job begins, and those at work are interrupted.

        Args:
            job: see `run`.
            arguments: of each job.
        """
        found: dict[int, Result] = {}
        with closing(self.run(job, arguments)) as stream:

            def wait(number: int) -> Result:
                while number not in found:
                    at, result = next(stream)
                    found[at] = result
                return _checked(found.pop(number))

            yield [lambda number=number: wait(number) for number in range(len(arguments))]  # type: ignore[misc]


def run_job(job: Job, arguments: tuple[Any, ...]) -> Result:
    """Run a job; an error of Laconic's becomes a result, since not all of them can be sent."""
    try:
        return job(*arguments)
    except LaconicError as error:
        return {"error": str(error)}


def _checked(result: Result) -> Result:
    """The result of a job that did something.

    Raises:
        InputError: the job failed, or its process was ended.
    """
    if "error" in result and "output" not in result:
        raise InputError(result["error"])
    return result
