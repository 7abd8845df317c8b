"""Rules of authorization codes, access and refresh tokens, on top of django-oauth-toolkit's.

1. The audience is this hub's `/mcp`: a `resource` beside it is `invalid_target`, none means it.
2. A code is used up in the transaction that makes its tokens: of two requests with it, one gets tokens. A code that
   comes again ends the grant that was made with it (RFC 6749, section 4.1.2).
3. A refresh token that comes again ends its grant (RFC 9700, section 4.14.2), and so does its revocation (RFC 7009).
4. Of two requests with one code or refresh token at the same moment the second is one that comes again.
5. A grant keeps the scope that its account agreed to: a refresh neither widens nor narrows it.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import datetime
from typing import Any, Final, cast
from uuid import UUID

from django.db.models import Q
from oauth2_provider.models import get_grant_model, get_refresh_token_model
from oauth2_provider.oauth2_validators import OAuth2Validator
from oauthlib.oauth2.rfc6749.errors import CustomOAuth2Error, InvalidGrantError

from taskhub.oauth.resource import canonical
from taskhub.selectors.oauth_grants import grant_is_valid
from taskhub.services.oauth_grants import grant_create, grant_end, grants_end_of_code

LATEST: Final = "taskhub_latest"
"""Key in a code's claims: until when the grant may last, where the consent was given with a token."""
_REFRESH: Final = "refresh_token"
_CODE: Final = "authorization_code"


class _UsedAtOnce(InvalidGrantError):  # type: ignore[misc]  # oauthlib has no types
    """Another request with the same code or refresh token was quicker."""


class HubValidator(OAuth2Validator):  # type: ignore[misc]  # the toolkit has no types
    def _load_application(self, client_id: str | None, request: Any) -> Any:
        """PostgreSQL takes no NUL, which a client id in the header Authorization may have."""
        return None if "\0" in (client_id or "") else super()._load_application(client_id, request)

    def validate_code(self, client_id: str, code: str, client: Any, request: Any, *args: Any, **kwargs: Any) -> bool:
        if super().validate_code(client_id, code, client, request, *args, **kwargs):
            return bool(request.user.is_active)
        grants_end_of_code(client_id=client.pk, code_digest=digest_of(code))
        return False

    def get_code_challenge(self, code: str, request: Any) -> str | None:
        with _code_is_there(request):
            return cast("str | None", super().get_code_challenge(code, request))

    def get_code_challenge_method(self, code: str, request: Any) -> str | None:
        with _code_is_there(request):
            return cast("str | None", super().get_code_challenge_method(code, request))

    def confirm_redirect_uri(
        self, client_id: str, code: str, redirect_uri: str, client: Any, request: Any, *args: Any, **kwargs: Any
    ) -> bool:
        with _code_is_there(request):
            return bool(super().confirm_redirect_uri(client_id, code, redirect_uri, client, *args, **kwargs))

    def invalidate_authorization_code(self, client_id: str, code: str, request: Any, *args: Any, **kwargs: Any) -> None:
        """It was, with its tokens (`_check_and_set_request_resource`)."""

    def validate_refresh_token(self, refresh_token: str, client: Any, request: Any, *args: Any, **kwargs: Any) -> bool:
        if super().validate_refresh_token(refresh_token, client, request, *args, **kwargs):
            return grant_is_valid(request.refresh_token_instance.token_family)
        used = get_refresh_token_model().objects.filter(
            token_checksum=digest_of(refresh_token), application=client, revoked__isnull=False
        )
        _end_family(used.first(), reason="refresh_token_reused")
        return False

    def revoke_token(self, token: str, _hint: str | None, request: Any, *_args: Any, **_kwargs: Any) -> None:
        """Either token of a family ends the grant. Tokens of other clients are unknown (RFC 7009, section 2.1)."""
        if not token or request.client is None:
            return
        checksum = digest_of(token)
        of_family = Q(token_checksum=checksum) | Q(access_token__token_checksum=checksum)
        found = get_refresh_token_model().objects.filter(of_family, application_id=request.client.pk)
        _end_family(found.first(), reason="revoked_by_client")

    def save_bearer_token(self, token: dict[str, Any], request: Any, *args: Any, **kwargs: Any) -> Any:
        """Raises InvalidGrantError, CustomOAuth2Error (`invalid_target`)."""
        try:
            return super().save_bearer_token(token, request, *args, **kwargs)
        except _UsedAtOnce:
            # Here, since the transaction of the tokens is undone.
            if request.grant_type == _REFRESH:
                _end_family(request.refresh_token_instance, reason="refresh_token_reused")
            else:
                grants_end_of_code(client_id=request.client.pk, code_digest=digest_of(request.code))
            raise

    def _save_bearer_token(self, token: dict[str, Any], request: Any, *args: Any, **kwargs: Any) -> None:
        """Called in a transaction."""
        if request.grant_type == _REFRESH:
            self._take_refresh_token(request)
            token["scope"] = self.get_original_scopes(request.refresh_token, request)
        super()._save_bearer_token(token, request, *args, **kwargs)

    def _take_refresh_token(self, request: Any) -> None:
        """Of two requests with one token the second finds it revoked. Raises InvalidGrantError."""
        rows = get_refresh_token_model().objects.select_for_update()
        row = rows.filter(pk=request.refresh_token_instance.pk, revoked__isnull=True).first()
        if row is None:
            raise _UsedAtOnce(request=request)

    def _check_and_set_request_resource(self, request: Any) -> None:
        """Raises CustomOAuth2Error (`invalid_target`), InvalidGrantError."""
        granted = self._granted_resource(request)
        asked = [value for name, value in request.decoded_body or [] if name == "resource"]
        if any(canonical(each) not in granted for each in asked):
            raise invalid_target()
        if request.grant_type == _CODE:
            codes = get_grant_model().objects.filter(code=request.code, application=request.client)
            if not codes.delete()[0]:
                raise _UsedAtOnce(request=request)
        request.resource = granted

    def _granted_resource(self, request: Any) -> list[str]:
        if request.grant_type == _REFRESH:
            return list(request.refresh_token_instance.resource)
        found = get_grant_model().objects.filter(code=request.code, application=request.client).first()
        if found is None:
            raise _UsedAtOnce(request=request)
        return list(found.resource)

    def _create_refresh_token(
        self, request: Any, refresh_token_code: str, access_token: Any, previous_refresh_token: Any
    ) -> Any:
        made = super()._create_refresh_token(request, refresh_token_code, access_token, previous_refresh_token)
        if previous_refresh_token is None:
            latest = (request.claims or {}).get(LATEST)
            grant_create(
                user=request.user,
                client=request.client,
                family=made.token_family,
                scope=access_token.scope,
                latest=datetime.fromisoformat(latest) if latest else None,
                code_digest=digest_of(request.code),
            )
        return made


@contextmanager
def _code_is_there(request: Any) -> Iterator[None]:
    """The toolkit reads the code's row several times. Raises InvalidGrantError where it was used up in between."""
    try:
        yield
    except get_grant_model().DoesNotExist:
        grants_end_of_code(client_id=request.client.pk, code_digest=digest_of(request.code))
        raise InvalidGrantError(request=request) from None


def digest_of(text: str) -> str:
    """As the toolkit stores tokens."""
    return hashlib.sha256(text.encode()).hexdigest()


def invalid_target(**details: Any) -> CustomOAuth2Error:
    return CustomOAuth2Error("invalid_target", "The only resource of this server is its own /mcp.", **details)


def _end_family(row: Any, *, reason: str) -> None:
    family: UUID | None = row.token_family if row is not None else None
    if family is not None:
        grant_end(family=family, reason=reason)
