"""Two requests with one code or refresh token at the same moment, on both databases: one gets tokens, the grant ends.

`tests/integration/test_oauth_security.py` has each order of the two within one request.
"""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from threading import Barrier

import pytest
from django.contrib.auth.models import User
from django.db import connections
from django.http import HttpResponse

from taskhub.models import ApiToken, AuditEntry
from taskhub.oauth.validator import HubValidator
from tests.oauth_flow import OAuthClient, at_mcp, signed_in

pytestmark = pytest.mark.django_db(transaction=True)
ROUNDS = 3


@pytest.mark.parametrize("kind", ["refresh_token", "code"])
def test_of_two_at_once_one_gets_tokens_and_the_grant_ends(
    alice: User, kind: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    client, browser = OAuthClient(), signed_in("alice")
    save, together = HubValidator.save_bearer_token, Barrier(2)

    def saved(self: HubValidator, *args: object, **kwargs: object) -> object:
        """Both were found to be right; they meet where tokens are made."""
        together.wait(20)
        return save(self, *args, **kwargs)

    for _ in range(ROUNDS):
        given = client.code(browser) if kind == "code" else client.tokens(browser)["refresh_token"]

        def ask(text: str = given) -> HttpResponse:
            try:
                return client.exchange(text) if kind == "code" else client.refresh(text)
            finally:
                connections.close_all()

        with monkeypatch.context() as patched, ThreadPoolExecutor(2) as pool:
            patched.setattr(HubValidator, "save_bearer_token", saved)
            answers = [each.result(30) for each in [pool.submit(ask), pool.submit(ask)]]
        won, lost = sorted(answers, key=lambda answer: answer.status_code)
        assert (lost.status_code, lost.json()["error"]) == (400, "invalid_grant")
        if won.status_code == 400:  # the grant has ended before it was answered
            assert won.json()["error"] == "invalid_grant"
            continue
        assert at_mcp(won.json()["access_token"]).status_code == 401
        assert client.refresh(won.json()["refresh_token"]).json()["error"] == "invalid_grant"
    assert not ApiToken.objects.filter(client__isnull=False).exists()
    ends = AuditEntry.objects.filter(action="grant:end").values_list("changes__reason", flat=True)
    assert list(ends) == [[None, f"{kind}_reused"]] * ROUNDS
