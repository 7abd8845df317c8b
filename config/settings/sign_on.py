"""Settings of sign-on with an OpenID provider (`taskhub/sign_on/`). Without an issuer there is none."""

from __future__ import annotations

from typing import Final
from urllib.parse import urlsplit

from django.core.exceptions import ImproperlyConfigured

from config import env

_ROLES: Final = ("viewer", "agent", "operator")

# As the provider's own document writes it.
TASKHUB_OIDC_ISSUER = env.text("TASKHUB_OIDC_ISSUER", "")
TASKHUB_OIDC_CLIENT_ID = env.text("TASKHUB_OIDC_CLIENT_ID", "")
TASKHUB_OIDC_CLIENT_SECRET = env.secret("TASKHUB_OIDC_CLIENT_SECRET", "")
TASKHUB_OIDC_SCOPES = env.text("TASKHUB_OIDC_SCOPES", "openid email profile")
TASKHUB_OIDC_ALGORITHM = env.one_of("TASKHUB_OIDC_ALGORITHM", "RS256", ("RS256", "ES256"))
TASKHUB_OIDC_NAME_CLAIM = env.text("TASKHUB_OIDC_NAME_CLAIM", "preferred_username")
TASKHUB_OIDC_GROUPS_CLAIM = env.text("TASKHUB_OIDC_GROUPS_CLAIM", "groups")
# The role of people none of whose groups is in the table; empty: they may not sign in.
TASKHUB_OIDC_DEFAULT_ROLE = env.one_of("TASKHUB_OIDC_DEFAULT_ROLE", "", ("", *_ROLES))
TASKHUB_OIDC_SESSION_HOURS = env.integer("TASKHUB_OIDC_SESSION_HOURS", 12, least=1, most=24 * 14)
# Accounts that were there before are linked by their names, which the provider then has to guard.
TASKHUB_OIDC_LINK_BY_NAME = env.flag("TASKHUB_OIDC_LINK_BY_NAME")
TASKHUB_PASSWORD_SIGN_IN = bool(env.integer("TASKHUB_PASSWORD_SIGN_IN", 1, most=1))


def _table(words: list[str]) -> dict[str, str]:
    """By group: its role, of `group=role,…`. Groups may be ids, and may have equals signs in them."""
    found = {}
    for word in words:
        group, _, role = word.rpartition("=")
        if not group or role not in _ROLES:
            raise ImproperlyConfigured(f"TASKHUB_OIDC_ROLES must be group=role,… with {', '.join(_ROLES)}: {word!r}.")
        found[group] = role
    return found


TASKHUB_OIDC_ROLES = _table(env.words("TASKHUB_OIDC_ROLES"))
# A sign-out leads to the provider, and browsers hold that redirect against the policy of the page's forms.
SIGN_ON_ORIGINS = ["{0.scheme}://{0.netloc}".format(urlsplit(TASKHUB_OIDC_ISSUER))] if TASKHUB_OIDC_ISSUER else []
SIGN_ON_BACKENDS = ["taskhub.sign_on.backend.SignOnBackend"] if TASKHUB_OIDC_ISSUER else []

if TASKHUB_OIDC_ISSUER and not (TASKHUB_OIDC_CLIENT_ID and TASKHUB_OIDC_CLIENT_SECRET):
    raise ImproperlyConfigured("TASKHUB_OIDC_ISSUER needs TASKHUB_OIDC_CLIENT_ID and TASKHUB_OIDC_CLIENT_SECRET.")
if not TASKHUB_PASSWORD_SIGN_IN and not TASKHUB_OIDC_ISSUER:
    raise ImproperlyConfigured("TASKHUB_PASSWORD_SIGN_IN=0 needs TASKHUB_OIDC_ISSUER: people need a way in.")
