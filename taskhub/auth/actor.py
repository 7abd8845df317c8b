"""Actor: the account, token and interface on whose behalf a service writes."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from django.contrib.auth.models import User

from taskhub.models import ApiToken
from taskhub.roles import Door


@dataclass(frozen=True, slots=True)
class Actor:
    """`user` is None if the service itself acts, for instance a job that finds an ended execution.

    `token` is the API token of the request; None for a session.
    """

    door: Door
    user: User | None = None
    token: ApiToken | None = None

    @property
    def name(self) -> str:
        return self.user.get_username() if self.user else ""


SYSTEM: Final = Actor(door="job")
