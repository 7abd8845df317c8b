"""Authentication at `/mcp`: an API token, or an OAuth access token for this hub's `/mcp`.

An access token acts as its grant: the caller is the grant's account with at most the grant's role, and `ApiToken` row.
"""

from __future__ import annotations

from django.contrib.auth.models import User
from django.db.models import F
from django.http import HttpRequest
from django.utils import timezone
from oauth2_provider.models import get_access_token_model

from taskhub.api.authentication import BearerAuthentication, OutdatedCredential, WrongCredential, has_expired
from taskhub.auth.token_use import tokens_note_use
from taskhub.models import ApiToken
from taskhub.models.token import OAUTH_ACCESS_PREFIX
from taskhub.oauth.resource import mcp_resource
from taskhub.oauth.validator import digest_of
from taskhub.roles import know_role


class McpAuthentication(BearerAuthentication):
    def authenticate(self, request: HttpRequest) -> tuple[User, ApiToken] | None:
        """Raises AuthenticationFailed; Throttled for an address that failed too often in this minute."""
        self._resource = mcp_resource(request)
        return super().authenticate(request)

    def authenticate_credentials(self, token: bytes) -> tuple[User, ApiToken]:
        if not token.startswith(OAUTH_ACCESS_PREFIX.encode()):
            return super().authenticate_credentials(token)
        text = token.decode("ascii", "replace")
        found = (
            get_access_token_model()
            .objects.filter(token_checksum=digest_of(text))
            .values_list("refresh_token__token_family", "resource", "expires")
            .first()
        )
        if found is None or found[0] is None:
            raise WrongCredential("The access token is wrong, or its grant was revoked; sign in again.")
        family, resource, expires = found
        if self._resource not in resource:
            raise WrongCredential("The access token is for another resource; sign in to this one.")
        if expires <= timezone.now():
            raise OutdatedCredential("The access token has expired; refresh it.", code="token_expired")
        return _account_of(family)


def _account_of(family: object) -> tuple[User, ApiToken]:
    rows = list(
        ApiToken.objects.filter(public_id=family, client__isnull=False, user__is_active=True)
        .select_related("user")
        .annotate(group=F("user__groups__name"))
    )
    if not rows or has_expired(rows[0]):
        raise OutdatedCredential("The grant of this access token has ended; sign in again.", code="token_revoked")
    token = rows[0]
    tokens_note_use([token])
    return know_role(token.user, [row.group for row in rows], token.role), token
