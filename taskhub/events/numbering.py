"""Numbering: events of PostgreSQL get their numbers behind the commit.

Numbers have no gaps and the order of the commits. If a writer took one in its own transaction, all others would have to
wait for its commit. So a writer inserts a pending event, and after its commit its process requests a *pass*:

1. A pass is one statement (`taskhub_number_events`, migration 0095), a transaction of its own. It locks the channel's
   counter, or finds it locked and does nothing; moves what is committed and pending into django-eventstream's table, in
   the order of the ids; and sets the counter.
2. The process that made the pass sends the notifications. Another one whose commit came too late for it finds the
   counter locked, and tries again after 5 ms, or finds nothing left to do. Between its own passes a process rests for
   10 ms: what it commits meanwhile is one pass.

What holds: a transaction that saw a change, or waited for it, gets the higher number. Its id is higher, because it took
it later; and a pass that sees its event sees the other one, too. Whatever has nothing to do with each other is numbered
in any order.

No process leads. One that is killed or stopped between two steps holds no lock: what it did not number, the next pass
of any process does, and each web process looks every 2 s whether anything is left (`hub.py`); that look also finds
events whose notifications were not sent.
"""

from __future__ import annotations

import atexit
import logging
import os
import threading
import time
from typing import Final, NamedTuple

from django.db import DatabaseError, connection, connections

from taskhub.events.publish import notification, notify

log = logging.getLogger(__name__)

PASS_EVENTS: Final = 500
PASS_BYTES: Final = 32 * 1024
"""Above this a pass does not answer with the texts of its events."""
REST_S: Final = 0.01
"""Between two passes of a process: what is committed meanwhile is one. Events further apart do not wait."""
AGAIN_S: Final = 0.005
_AGAIN_MOST_S: Final = 0.1
_AFTER_ERROR_S: Final = 1.0
_IDLE_S: Final = 60.0
"""After so long without a commit the thread closes its connection."""
_EXIT_WITHIN_S: Final = 2.0

_MOVE = "SELECT channel, number, kind, body FROM taskhub_number_events(%s, %s)"
_TEXT = "SELECT data FROM django_eventstream_event WHERE channel = %s AND eid = %s"
_IS_PENDING = "SELECT EXISTS (SELECT FROM taskhub_pendingevent)"


class Numbered(NamedTuple):
    """An event that a pass has numbered. `data`: None where the texts of the pass are too large together."""

    channel: str
    number: int
    type: str
    data: str | None


def is_pending() -> bool:
    """Whether an event waits for its number. Raises DatabaseError."""
    if connection.vendor != "postgresql":
        return False
    with connection.cursor() as cursor:
        cursor.execute(_IS_PENDING)
        return bool(cursor.fetchone()[0])


def move_pending() -> list[Numbered]:
    """The statement of a pass; a channel whose counter is locked answers with the number 0. Raises DatabaseError."""
    with connection.cursor() as cursor:
        cursor.execute(_MOVE, [PASS_EVENTS, PASS_BYTES])
        return [Numbered(*row) for row in cursor.fetchall()]


def number_events() -> bool:
    """A pass, and its notifications. False if there may be more to number: try again. Raises DatabaseError.

    On the thread's own connection, outside a transaction: the counter would stay locked until its end.
    """
    rows = move_pending()
    numbered = sorted(row for row in rows if row.number)
    _notify(numbered)
    return len(numbered) < PASS_EVENTS and len(numbered) == len(rows)


def _notify(numbered: list[Numbered]) -> None:
    """Notifications of a pass. A web process that gets only the last one reads the others from the table."""
    if any(row.data is None for row in numbered):
        last = {row.channel: row for row in numbered}
        numbered = [row._replace(data=_read_text(row)) for row in last.values()]
    messages = [notification(row.channel, row.type, row.data, row.number) for row in numbered if row.data is not None]
    if messages:
        notify(*messages)


def _read_text(row: Numbered) -> str | None:
    with connection.cursor() as cursor:
        cursor.execute(_TEXT, [row.channel, row.number])
        found = cursor.fetchone()
    return None if found is None else str(found[0])


class Numberer:
    """The thread of a process that makes its passes, with a database connection of its own."""

    def __init__(self) -> None:
        self._changed = threading.Condition()
        self._requested = 0
        self._answered = 0
        self._failures = 0
        self._rests_until = 0.0
        self._thread: threading.Thread | None = None

    def request(self) -> None:
        """Have a pass made soon; all requests until it begins are answered by it."""
        with self._changed:
            self._requested += 1
            self._changed.notify_all()
            if self._thread is None:
                thread = threading.Thread(target=self._run, name="numbering", daemon=True)
                thread.start()  # where it cannot be started now, the next request tries again
                self._thread = thread

    def finish(self, within_s: float) -> None:
        """Wait until what was requested is done."""
        with self._changed:
            self._changed.wait_for(self.is_idle, within_s)

    def is_idle(self) -> bool:
        """Whether all that was requested is done."""
        return self._answered == self._requested

    def _run(self) -> None:
        while True:
            goal = self._next()
            try:
                self._number()
            except DatabaseError as error:
                self._try_later(f"the database does not answer ({type(error).__name__})")
            except Exception:
                # The thread must not end: its process would leave its events to the others.
                log.exception("numbering of events failed")
                self._try_later("see the error")
            else:
                with self._changed:
                    self._answered, self._failures = goal, 0
                    self._changed.notify_all()

    def _next(self) -> int:
        with self._changed:
            if not self._changed.wait_for(lambda: not self.is_idle(), _IDLE_S):
                connections.close_all()
                self._changed.wait_for(lambda: not self.is_idle())
        if (rest_s := self._rests_until - time.monotonic()) > 0:
            time.sleep(rest_s)
        with self._changed:
            return self._requested

    def _number(self) -> None:
        wait_s = AGAIN_S
        while not number_events():
            time.sleep(wait_s)
            wait_s = min(2 * wait_s, _AGAIN_MOST_S)
        self._rests_until = time.monotonic() + REST_S

    def _try_later(self, reason: str) -> None:
        connections.close_all()
        if self._failures:  # the first error may be that of a connection which was cut long ago
            log.warning("events are numbered later: %s", reason)
            time.sleep(_AFTER_ERROR_S)
        self._failures += 1


_numberer = Numberer()


def request() -> None:
    """Number what has been committed. Call it after the commit; it does not wait, and never fails."""
    try:
        _numberer.request()
    except RuntimeError as error:  # no thread can be started any more
        log.warning("events are numbered later: %s", error)


def _after_fork() -> None:
    global _numberer  # noqa: PLW0603 - the thread exists only in the parent
    _numberer = Numberer()


os.register_at_fork(after_in_child=_after_fork)
atexit.register(lambda: _numberer.finish(_EXIT_WITHIN_S))
