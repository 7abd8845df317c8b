"""Texts of OAuth tokens: random, with a prefix that tells them from API tokens and lets the logs hide them."""

from __future__ import annotations

import secrets
from typing import Any, Final

from taskhub.models.token import OAUTH_ACCESS_PREFIX

REFRESH_PREFIX: Final = "thr_"
_BYTES: Final = 32


def access_token(request: Any = None) -> str:  # noqa: ARG001 - oauthlib's interface
    return OAUTH_ACCESS_PREFIX + secrets.token_hex(_BYTES)


def refresh_token(request: Any = None) -> str:  # noqa: ARG001 - likewise
    return REFRESH_PREFIX + secrets.token_hex(_BYTES)
