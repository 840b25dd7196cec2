"""A worker process: reads requests from stdin, works on them, and writes answers to stdout.

A thread reads stdin all the time: a message with `stop` cancels the work at its next report of
progress, and the end of stdin (the server has ended) ends the process at once.
"""

import json
import os
import queue
import signal
import sys
import threading
import time
import traceback
from typing import TYPE_CHECKING, BinaryIO, Final

from laconic.errors import LaconicError
from laconic.studio.frames import Message, pack, read
from laconic.waiting import run_alone, wait_asleep

if TYPE_CHECKING:
    from laconic.studio.tasks import Setup

REPORT_SECONDS: Final = 0.1
"""Shortest time between two reports of progress."""


class Cancelled(Exception):
    """The work is not wanted any more."""


class Channel:
    """Both directions of the pipes to the server.

    Args:
        incoming: requests.
        outgoing: answers.
    """

    def __init__(self, incoming: BinaryIO, outgoing: BinaryIO) -> None:
        self._incoming, self._outgoing = incoming, outgoing
        self.requests: queue.SimpleQueue[Message] = queue.SimpleQueue()
        self._stopped: set[int] = set()
        self._current, self._reported = 0, 0.0

    def listen(self) -> None:
        """Read messages until the server ends, then end this process."""
        while (message := read(self._incoming)) is not None:
            if "stop" in message.head:
                self._stopped.add(message.head["stop"])
            else:
                self.requests.put(message)
        os._exit(0)

    def begin(self, number: int) -> None:
        """A request begins; older stops concern it no longer."""
        self._stopped = {stop for stop in self._stopped if stop >= number}
        self._current, self._reported = number, 0.0

    def tick(self, done: int, total: int) -> None:
        """Report progress.

        Raises:
            Cancelled: the server wants no answer any more.
        """
        if self._current in self._stopped:
            raise Cancelled
        now = time.monotonic()
        if now - self._reported >= REPORT_SECONDS:
            self._reported = now
            self.send(Message({"number": self._current, "progress": [done, total]}))

    def send(self, message: Message) -> None:
        """Write one message."""
        for piece in pack(message):
            self._outgoing.write(piece)
        self._outgoing.flush()


def main() -> None:
    """Work until stdin ends."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C reaches the server, which ends us.
    wait_asleep()
    run_alone()
    incoming, outgoing = os.fdopen(os.dup(0), "rb"), os.fdopen(os.dup(1), "wb")
    os.dup2(2, 1)  # What libraries print must not get into the answers.
    channel = Channel(incoming, outgoing)
    threading.Thread(target=channel.listen, daemon=True).start()
    from laconic.studio.tasks import Setup

    setup = Setup(**json.loads(sys.argv[1]))
    while True:
        message = channel.requests.get()
        channel.begin(message.head["number"])
        channel.send(_answer(setup, message, channel))


def _answer(setup: "Setup", message: Message, channel: Channel) -> Message:
    """Work on one request; what goes wrong becomes an answer, too."""
    from laconic.studio.tasks import TASKS

    number = {"number": message.head["number"]}
    try:
        task = TASKS[message.head["task"]]
        answer = task(setup, message.head, message.blobs, channel.tick)
        return Message(number | {"answer": answer.head}, answer.blobs)
    except Cancelled:
        return Message(number | {"cancelled": True})
    except LaconicError as error:
        return Message(number | {"error": str(error)})
    except MemoryError:
        return Message(number | {"error": "not enough memory: give a smaller picture"})
    except Exception as error:  # Our own fault does not end the studio.
        traceback.print_exc()
        return Message(number | {"error": f"a fault in laconic, please report it: {error!r}"})


if __name__ == "__main__":
    main()
