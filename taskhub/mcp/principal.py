"""On whose behalf the MCP server works: known before it sees the request."""

from __future__ import annotations

from dataclasses import dataclass
from urllib.parse import urljoin

from django.contrib.auth.models import User

from taskhub.auth.actor import Actor
from taskhub.errors import Forbidden, NotAuthenticated
from taskhub.events.revocation import StreamCredential
from taskhub.models import ApiToken
from taskhub.roles import Caller, Role, role_of


@dataclass(frozen=True, slots=True)
class Requester:
    """`token` is the API token that was shown; `key` counts their streams together; `base_url` is where they found us.

    Without a token nobody is known, and where reading is open they may read.
    """

    user: Caller
    token: ApiToken | None
    key: str
    base_url: str

    @property
    def actor(self) -> Actor:
        """Raises NotAuthenticated."""
        return Actor(door="mcp", user=self.account, token=self.token)

    @property
    def account(self) -> User:
        """Raises NotAuthenticated."""
        if not isinstance(self.user, User):
            raise NotAuthenticated("This takes a token.")
        return self.user

    @property
    def credential(self) -> StreamCredential | None:
        """What a stream of theirs stands on."""
        if not isinstance(self.user, User):
            return None
        token_id = self.token.public_id if self.token else None
        return StreamCredential(self.user.pk, self.user.get_username(), role_of(self.user), token_id=token_id)

    def guard(self, needed: Role, *, account: bool) -> None:
        """REST's permission: what writes, or is about an `account`, takes one. Raises NotAuthenticated, Forbidden."""
        role = role_of(self.user)
        if not self.user.is_authenticated and (account or role < needed):
            raise NotAuthenticated("This takes a token.")
        if role < needed:
            raise Forbidden(f"This takes the role {needed.group}; yours is {role.group}.")

    def address(self, path: str) -> str:
        """An absolute address of ours."""
        return urljoin(self.base_url, path)
