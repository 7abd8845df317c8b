"""Tickets: the right to open exactly one stream, in its URL, because `EventSource` cannot send headers.

A ticket names the kind of stream, its parameters (ids and filters), the account, and the token or session it was made
with. It is signed: its holder can read it, except for the sealed session, and change nothing. For 10
minutes it opens that stream, as often as the browser reconnects, and nothing else; after that its owner makes or renews
one with their credentials. The stream then depends on the account and the token or session (`revocation.py`).

A kind belongs to a stream view: `TICKET_KINDS` has the address and the parameters, from which the view reads its query,
too. Where in the stream the client stands (`lastEventId`, `since`) is in no ticket.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any, Final
from urllib.parse import urlencode
from uuid import UUID

from django.core import signing
from django.utils import timezone

from taskhub.errors import Invalid, NotAuthenticated
from taskhub.events.stream_parameters import FOR_ALL_STREAMS, Format, Parameter
from taskhub.events.types import EVENT_TYPES
from taskhub.lib.encryption import Seal, SealBroken
from taskhub.lib.extensions import ExtensionPoint
from taskhub.lib.query_values import unknown_parameters

VALID_FOR: Final = timedelta(minutes=10)
RENEWABLE_FOR: Final = timedelta(days=1)
_SALT: Final = "taskhub.events.tickets"
_SESSION: Final = Seal(_SALT, "session")


class BadTicket(NotAuthenticated):
    """Forged, too old, or for another stream."""

    default_code = "ticket_invalid"


@dataclass(frozen=True, slots=True)
class StreamKind:
    """A stream that tickets open. `address` may hold parameters as `{name}`; the others are in the query."""

    name: str
    address: str
    parameters: tuple[Parameter, ...]

    @property
    def in_ticket(self) -> tuple[Parameter, ...]:
        """The parameters that say which stream it is."""
        return tuple(parameter for parameter in self.parameters if not parameter.is_position)

    @property
    def names(self) -> tuple[str, ...]:
        """The names of those that say which stream it is."""
        return tuple(parameter.name for parameter in self.in_ticket)

    @property
    def in_query(self) -> tuple[Parameter, ...]:
        return tuple(parameter for parameter in self.parameters if f"{{{parameter.name}}}" not in self.address)

    def read(self, query: Mapping[str, str]) -> dict[str, str]:
        """The parameters of a stream's query, canonical; "" for what is not given and has no default.

        Raises Invalid, whose details name each parameter that is unknown, missing or malformed.
        """
        known = [parameter.name for parameter in self.in_query]
        wrong = unknown_parameters(query, (*known, *FOR_ALL_STREAMS))
        return _spelt(self.in_query, {name: query.get(name, "") for name in known}, wrong)

    def asked(self, query: Mapping[str, str], **inside: Any) -> dict[str, str]:
        """The canonical parameters of a request: `inside` from its path, the rest from its query. Raises Invalid."""
        return self.canonical({name: str(inside.get(name) or query.get(name, "")) for name in self.names})

    def canonical(self, params: Mapping[str, str]) -> dict[str, str]:
        """The parameters in one spelling and without the empty ones: two ways to write one stream are one stream.

        Raises Invalid, whose details name each that is wrong.
        """
        spelt = _spelt(self.in_ticket, params, unknown_parameters(params, self.names))
        return {name: value for name, value in spelt.items() if value}

    def url(self, params: Mapping[str, str], ticket: str) -> str:
        """The path and query that open the stream."""
        inside = {name: value for name, value in params.items() if f"{{{name}}}" in self.address}
        query = {name: value for name, value in params.items() if name not in inside}
        return f"{self.address.format_map(inside)}?{urlencode({**query, 'ticket': ticket})}"


def _spelt(parameters: tuple[Parameter, ...], params: Mapping[str, str], wrong: dict[str, list[str]]) -> dict[str, str]:
    """Raises Invalid for what is `wrong` already, missing or malformed."""
    given = {parameter.name: params.get(parameter.name) or parameter.default for parameter in parameters}
    spelt = {}
    for parameter in parameters:
        value = given[parameter.name]
        try:
            spelt[parameter.name] = parameter.spell(value) if value else ""
        except ValueError as error:
            wrong[parameter.name] = [str(error)]
        if not value and (missing := parameter.missing(given)):
            wrong[parameter.name] = [missing]
    if wrong:
        raise Invalid("Some parameters are wrong; details names them.", details=wrong)
    return spelt


EVENTS: Final = StreamKind(
    "events",
    "/api/events/stream",
    (
        Parameter(
            "types",
            f"Event types, separated by commas; all unless given. They are: {', '.join(EVENT_TYPES)}.",
            Format.CHOICES,
            choices=tuple(EVENT_TYPES),
        ),
        Parameter("task_id", "Only events of this task.", Format.UUID),
        Parameter("assignee", "Only events of tasks that are, or were, assigned to this account."),
        Parameter("since", "Begin with the events after this time (ISO 8601).", Format.TIME, is_position=True),
    ),
)
EXECUTION_LOG: Final = StreamKind(
    "execution-log",
    "/api/exec/logs/{task_id}/stream",
    (
        Parameter("task_id", "The id of the task.", Format.UUID, required=True),
        Parameter("execution_id", "The execution; the newest one unless given.", Format.UUID),
    ),
)
TICKET_KINDS: Final = ExtensionPoint[StreamKind]("ticket_kinds", lambda kind: kind.name)
"""All kinds, by name."""


@dataclass(frozen=True, slots=True)
class Ticket:
    """What a ticket says. It was made with the API token whose public id is `token_id`, or in the session
    `session_key`; in a session that was begun with a token it has both."""

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
