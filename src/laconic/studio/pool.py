"""Worker processes, and how work is given to them and taken back."""

import asyncio
import contextlib
import json
from collections.abc import Mapping
from typing import Any, Self

from laconic.errors import InputError
from laconic.progress import Progress, silent
from laconic.studio.frames import Message, pack, read_async
from laconic.studio.settings import Settings

BUFFER_BYTES = 1 << 20
END_SECONDS = 5.0
"""A process whose pipe ended must end within this time."""


class BusyError(Exception):
    """Too many requests wait for a worker."""


class Worker:
    """One process.

    Args:
        process: it.
    """

    def __init__(self, process: asyncio.subprocess.Process) -> None:
        self.process = process
        self._number, self._lost = 0, False

    @classmethod
    async def start(cls, settings: Settings) -> Self:
        """Start a process; it loads torch and the model with its first request."""
        facts = {
            "model": settings.model,
            "threads": settings.threads,
            "pixels": settings.limits.pixels,
        }
        process = await asyncio.create_subprocess_exec(
            *settings.command,
            json.dumps(facts),
            stdin=asyncio.subprocess.PIPE,
            stdout=asyncio.subprocess.PIPE,
            limit=BUFFER_BYTES,
        )
        return cls(process)

    @property
    def is_alive(self) -> bool:
        """Whether the process runs and answers."""
        return self.process.returncode is None and not self._lost

    async def work(self, request: Message, progress: Progress) -> Message:
        """Send one request and wait for its answer.

        Raises:
            InputError: the work failed, or the process ended.
            asyncio.CancelledError: the worker was asked to stop.
        """
        self._number += 1
        number = self._number
        assert self.process.stdout is not None
        try:
            await self._send(Message({**request.head, "number": number}, request.blobs))
            while True:
                answer = await read_async(self.process.stdout)
                if "progress" not in answer.head:
                    break
                progress(*answer.head["progress"])
        except (ConnectionError, asyncio.IncompleteReadError) as error:
            self._lost = True
            raise InputError(
                "the process that worked on this has ended: give a smaller picture, or try again"
            ) from error
        if "error" in answer.head:
            raise InputError(answer.head["error"])
        if "cancelled" in answer.head:
            raise asyncio.CancelledError
        return Message(answer.head["answer"], answer.blobs)

    async def ask_to_stop(self) -> None:
        """Ask the process to leave its present work."""
        with contextlib.suppress(ConnectionError):
            await self._send(Message({"stop": self._number}))

    async def _send(self, message: Message) -> None:
        assert self.process.stdin is not None
        self.process.stdin.writelines(pack(message))
        await self.process.stdin.drain()

    def kill(self) -> None:
        """End the process at once, unless it has ended."""
        if self.process.returncode is None:
            with contextlib.suppress(ProcessLookupError):
                self.process.kill()

    async def close(self) -> None:
        """Wait for the end of a process that was killed or lost."""
        with contextlib.suppress(TimeoutError):
            await asyncio.wait_for(self.process.wait(), END_SECONDS if self._lost else None)
        if self.process.returncode is None:
            self.kill()
            await self.process.wait()
        transport: Any = getattr(self.process, "_transport", None)
        if transport is not None:
            transport.close()


class Pool:
    """So many workers, started when they are needed, and the requests that wait for them.

    Args:
        settings: of the studio.
    """

    def __init__(self, settings: Settings) -> None:
        self.settings = settings
        self._idle: asyncio.Queue[Worker | None] = asyncio.Queue()
        for _ in range(settings.workers):
            self._idle.put_nowait(None)
        self._all: set[Worker] = set()
        self._settling: set[asyncio.Task[None]] = set()
        self._waiting = 0
        self.counts = {"done": 0, "stopped": 0, "killed": 0}
        """Requests that were answered, left on demand, and ended with their process."""

    @property
    def process_ids(self) -> list[int]:
        """Of the workers that run."""
        return [worker.process.pid for worker in self._all if worker.is_alive]

    async def run(
        self, head: Mapping[str, Any], blobs: tuple[bytes, ...] = (), progress: Progress = silent
    ) -> Message:
        """Work on one request, as soon as a worker is free.

        If this call is cancelled, the work ends: at its next report of progress, or after the
        grace period with its process.

        Raises:
            BusyError: too many requests wait.
            InputError: the work failed or took too long.
        """
        if self._waiting >= self.settings.limits.waiting_jobs:
            raise BusyError
        self._waiting += 1
        try:
            worker = await self._idle.get()
        finally:
            self._waiting -= 1
        try:
            worker = await self._ready(worker)
        except BaseException:
            self._idle.put_nowait(None)
            raise
        job = asyncio.ensure_future(worker.work(Message(dict(head), blobs), progress))
        return await self._follow(worker, job)

    async def _follow(self, worker: Worker, job: "asyncio.Future[Message]") -> Message:
        """Wait for an answer; the worker is given back in any case."""
        limit = self.settings.limits.job_seconds
        try:
            answer = await asyncio.wait_for(asyncio.shield(job), limit)
        except TimeoutError as error:
            self._settle(worker, job)
            raise InputError(
                f"this took more than {limit:g} seconds and was stopped: give a smaller picture "
                "or less effort"
            ) from error
        except asyncio.CancelledError:
            self._settle(worker, job)
            raise
        except InputError:
            self._idle.put_nowait(worker)
            raise
        self.counts["done"] += 1
        self._idle.put_nowait(worker)
        return answer

    async def _ready(self, worker: Worker | None) -> Worker:
        if worker is not None and worker.is_alive:
            return worker
        if worker is not None:
            self._all.discard(worker)
            await worker.close()
        fresh = await Worker.start(self.settings)
        self._all.add(fresh)
        return fresh

    def _settle(self, worker: Worker, job: "asyncio.Future[Message]") -> None:
        """Make a worker stop, without waiting for it here."""
        task = asyncio.create_task(self._stop(worker, job))
        self._settling.add(task)
        task.add_done_callback(self._settling.discard)

    async def _stop(self, worker: Worker, job: "asyncio.Future[Message]") -> None:
        await worker.ask_to_stop()
        done, _ = await asyncio.wait([job], timeout=self.settings.limits.grace_seconds)
        if done:
            self.counts["stopped"] += 1
        else:
            self.counts["killed"] += 1
            worker.kill()
            await asyncio.wait([job])
        if not job.cancelled():
            job.exception()  # Seen: nothing waits for it.
        self._idle.put_nowait(worker)

    async def close(self) -> None:
        """End all workers."""
        for worker in self._all:
            worker.kill()
        await asyncio.gather(*self._settling, return_exceptions=True)
        await asyncio.gather(*(worker.close() for worker in self._all))
