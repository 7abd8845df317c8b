"""Tickets: the right to open exactly one stream, in its URL, because `EventSource` cannot send headers.

A ticket names the kind of stream, its parameters (ids and filters), the account, and the token or session it was made
with. It is signed: its holder can read it, except for the sealed session, and change nothing. For 10
minutes it opens that stream, as often as the browser reconnects, and nothing else; after that its owner makes or renews
one with their credentials. The stream then depends on the account and the token or session (`revocation.py`).

A kind belongs to a stream view: `TICKET_KINDS` has the address and the names of the parameters. Where in the stream
the client stands (`lastEventId`, `since`) is not among them.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any, Final
from urllib.parse import urlencode
from uuid import UUID

from django.core import signing
from django.utils import timezone

from taskhub.errors import Invalid, NotAuthenticated
from taskhub.lib.encryption import Seal, SealBroken
from taskhub.lib.extensions import ExtensionPoint

VALID_FOR: Final = timedelta(minutes=10)
RENEWABLE_FOR: Final = timedelta(days=1)
_SALT: Final = "taskhub.events.tickets"
_SESSION: Final = Seal(_SALT, "session")
_VALUE_LIMIT: Final = 1000


class BadTicket(NotAuthenticated):
    """Forged, too old, or for another stream."""

    default_code = "ticket_invalid"


@dataclass(frozen=True, slots=True)
class StreamKind:
    """A stream that tickets open. `address` may hold parameters as `{name}`; the others go into the query.

    Of the parameters, `ids` are UUIDs and `lists` words separated by commas, whose order means nothing; `defaults` are
    what those mean that are not given, `choices` what they may be. `needed_with` maps a parameter's value to those that
    must be given with it.
    """

    name: str
    address: str
    names: tuple[str, ...]
    required: tuple[str, ...] = ()
    ids: tuple[str, ...] = ()
    lists: tuple[str, ...] = ()
    defaults: Mapping[str, str] = field(default_factory=dict)
    choices: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    needed_with: Mapping[str, tuple[str, ...]] = field(default_factory=dict)

    def asked(self, query: Mapping[str, str], **inside: Any) -> dict[str, str]:
        """The canonical parameters of a request: `inside` from its path, the rest from its query. Raises Invalid."""
        return self.canonical({name: str(inside.get(name) or query.get(name, "")) for name in self.names})

    def canonical(self, params: Mapping[str, str]) -> dict[str, str]:
        """The parameters in one spelling and without the empty ones: two ways to write one stream are one stream.

        Raises Invalid, naming each that is wrong.
        """
        known = ", ".join(self.names)
        wrong = {name: [f"Unknown parameter. Known: {known}."] for name in params if name not in self.names}
        needed = [*self.required, *(name for value in params.values() for name in self.needed_with.get(value, ()))]
        wrong |= {name: ["This parameter is required."] for name in needed if not params.get(name)}
        wrong |= {
            name: [f"Must have at most {_VALUE_LIMIT} characters."]
            for name, value in params.items()
            if len(value) > _VALUE_LIMIT
        }
        given = {name: params.get(name) or self.defaults.get(name, "") for name in self.names}
        wrong |= {
            name: [f"Must be one of: {', '.join(words)}."]
            for name, words in self.choices.items()
            if given[name] not in words
        }
        spelt = {name: self._spell(name, value) for name, value in given.items() if value}
        wrong |= {name: ["Must be a UUID."] for name, value in spelt.items() if value is None}
        if wrong:
            raise Invalid("Some parameters are wrong; details names them.", details={"params": wrong})
        return {name: value for name, value in spelt.items() if value}

    def _spell(self, name: str, value: str) -> str | None:
        if name in self.lists:
            return ",".join(sorted({word for word in value.split(",") if word}))
        if name not in self.ids:
            return value
        try:
            return str(UUID(value))
        except ValueError:
            return None

    def url(self, params: Mapping[str, str], ticket: str) -> str:
        """The path and query that open the stream."""
        inside = {name: value for name, value in params.items() if f"{{{name}}}" in self.address}
        query = {name: value for name, value in params.items() if name not in inside}
        return f"{self.address.format_map(inside)}?{urlencode({**query, 'ticket': ticket})}"


EVENTS: Final = StreamKind(
    "events", "/api/events/stream", ("types", "task_id", "assignee"), ids=("task_id",), lists=("types",)
)
EXECUTION_LOG: Final = StreamKind(
    "execution-log",
    "/api/exec/logs/{task_id}/stream",
    ("task_id", "execution_id"),
    required=("task_id",),
    ids=("task_id", "execution_id"),
)
TICKET_KINDS: Final = ExtensionPoint[StreamKind]("ticket_kinds", lambda kind: kind.name)
"""All kinds, by name."""


@dataclass(frozen=True, slots=True)
class Ticket:
    """What a ticket says. It was made with the API token whose public id is `token_id`, or in the session
    `session_key`."""

    kind: str
    params: dict[str, str]
    user_id: int
    token_id: UUID | None = None
    session_key: str = ""

    def sign(self) -> str:
        said = {"k": self.kind, "p": self.params, "u": self.user_id}
        if self.token_id is not None:
            said["t"] = self.token_id.hex
        if self.session_key:
            # Sealed, for who has a session's key has the session.
            said["s"] = _SESSION.close(self.session_key)
        return signing.dumps(said, salt=_SALT)


def ticket_expiry() -> datetime:
    """Until when a ticket that is signed now opens its stream."""
    return timezone.now() + VALID_FOR


def read_ticket(text: str, *, valid_for: timedelta = VALID_FOR) -> Ticket:
    """The ticket, if we signed it no longer ago than `valid_for`. Raises BadTicket, which does not tell why."""
    try:
        said: dict[str, Any] = signing.loads(text, salt=_SALT, max_age=valid_for)
        session_key = _SESSION.open(said["s"]) if "s" in said else ""
    except (signing.BadSignature, SealBroken, ValueError):
        raise BadTicket("The ticket is wrong or too old; make a new one.") from None
    token_id = UUID(said["t"]) if "t" in said else None
    return Ticket(said["k"], said["p"], said["u"], token_id, session_key)


def read_ticket_for(text: str, kind: StreamKind, params: Mapping[str, str]) -> Ticket:
    """The ticket, if it is for exactly this stream. Raises BadTicket."""
    ticket = read_ticket(text)
    if (ticket.kind, ticket.params) != (kind.name, dict(params)):
        raise BadTicket("The ticket is for another stream; make one for this.")
    return ticket
