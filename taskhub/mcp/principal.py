"""Principal of an MCP request: the account and token on whose behalf the server works."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass, field, replace
from typing import Any, Final
from urllib.parse import urljoin

from django.contrib.auth.models import User

from taskhub.api.waiting import Waiter
from taskhub.auth.actor import Actor
from taskhub.errors import Forbidden, NotAuthenticated
from taskhub.events.revocation import StreamCredential
from taskhub.models import ApiToken
from taskhub.roles import Caller, Role, role_of

REQUESTER: Final = "taskhub.requester"
"""ASGI scope key: the Requester of the request."""
LISTENING: Final = "taskhub.listening"
"""ASGI scope key: a list for the stream to send instead of the SDK's response."""


@dataclass(frozen=True, slots=True)
class Requester:
    """`token` is the API token of the request; `key` groups the caller's streams; `base_url` is our address in the
    request; `gone` is set when its client has gone away.

    Without a token the caller is anonymous, and may read in the local profile.
    """

    user: Caller
    token: ApiToken | None
    key: str
    base_url: str
    gone: asyncio.Event = field(default_factory=asyncio.Event, compare=False)

    @property
    def actor(self) -> Actor:
        """Raises NotAuthenticated."""
        return Actor(door="mcp", user=self.account, token=self.token)

    def acting(self, arguments: dict[str, Any]) -> Actor:
        """The actor of a call that names its agent; takes `as`, `lease` and `force` out of the arguments.

        Raises NotAuthenticated.
        """
        name, lease = arguments.pop("as", ""), arguments.pop("lease", "")
        force = arguments.pop("force", False)
        return replace(self.actor, agent_name=name, lease=lease, force=force, claims=True)

    @property
    def waiter(self) -> Waiter:
        return Waiter(self.user, self.token, self.key)

    @property
    def account(self) -> User:
        """Raises NotAuthenticated."""
        if not isinstance(self.user, User):
            raise NotAuthenticated("Send a token: `Authorization: Bearer <token>`.")
        return self.user

    @property
    def credential(self) -> StreamCredential | None:
        """The credential of the caller's streams."""
        if not isinstance(self.user, User):
            return None
        token_id = self.token.public_id if self.token else None
        return StreamCredential(self.user.pk, self.user.get_username(), role_of(self.user), token_id=token_id)

    def guard(self, needed: Role, *, account: bool) -> None:
        """REST's permissions: writing, and tools about an `account`, need one. Raises NotAuthenticated, Forbidden."""
        role = role_of(self.user)
        if not self.user.is_authenticated and (account or role < needed):
            raise NotAuthenticated("Send a token: `Authorization: Bearer <token>`.")
        if role < needed:
            raise Forbidden(f"Requires the role {needed.group}; yours is {role.group}.")

    def address(self, path: str) -> str:
        """An absolute URL of this hub."""
        return urljoin(self.base_url, path)
