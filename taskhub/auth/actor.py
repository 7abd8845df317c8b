"""Actor: the account, token and interface on whose behalf a service writes."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from django.contrib.auth.models import User

from taskhub.models import ApiToken
from taskhub.models.claim import AGENT_LENGTH
from taskhub.roles import Door


@dataclass(frozen=True, slots=True)
class Actor:
    """`user` is None if the service itself acts, for instance a job that finds an ended execution.

    `token` is the API token of the request; None for a session. With a token it acts as an agent, whatever its account
    may do: `agent_name` tells several agents of one account apart (`as`; by default the token's name), `lease` is the
    token of the claim that it says to hold, `force` asks to override the claim of another agent. `claims`: a request
    of this actor that begins work on a task claims it; a plain REST request does not.
    """

    door: Door
    user: User | None = None
    token: ApiToken | None = None
    agent_name: str = ""
    lease: str = ""
    force: bool = False
    claims: bool = False

    @property
    def name(self) -> str:
        return self.user.get_username() if self.user else ""

    @property
    def is_agent(self) -> bool:
        return self.user is not None and self.token is not None

    @property
    def agent(self) -> str:
        """The agent's name within its account; "" for a person and for the service itself."""
        if self.token is None:
            return ""
        return self.agent_name or str(self.token)[:AGENT_LENGTH]


SYSTEM: Final = Actor(door="job")
