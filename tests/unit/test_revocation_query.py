"""What streams stand on is asked in one query for all of them."""

from __future__ import annotations

from datetime import timedelta

import pytest
from django.contrib.auth.models import User
from django.contrib.sessions.backends.db import SessionStore
from django.db import connection
from django.test.utils import CaptureQueriesContext

from taskhub.events.revocation import StreamCredential, read_revoked
from taskhub.models import ApiToken
from taskhub.roles import Role
from tests.conftest import make_account

pytestmark = pytest.mark.django_db


def of_session(user: User) -> StreamCredential:
    session = SessionStore()
    session.create()
    key = session.session_key or ""
    return StreamCredential(user.pk, user.username, Role.AGENT, session_key=key, password=user.password)


def test_credentials_of_all_streams_are_checked_in_one_query_plus_one_for_sessions() -> None:
    tokens = [ApiToken.objects.create(user=make_account(f"a{n}", "agent"))[0] for n in range(20)]
    credentials = {
        StreamCredential(token.user_id, token.user.username, Role.AGENT, token.public_id) for token in tokens
    }
    with CaptureQueriesContext(connection) as queries:
        assert read_revoked(credentials) == set()
    assert len(queries) == 1
    credentials.add(of_session(tokens[0].user))
    with CaptureQueriesContext(connection) as queries:
        assert read_revoked(credentials) == set()
    assert len(queries) == 2
    with CaptureQueriesContext(connection) as queries:
        assert read_revoked(set()) == set()
    assert len(queries) == 0


def test_a_session_is_valid_without_a_token(alice: User, settings) -> None:
    settings.TASKHUB_OPEN_READING = False
    assert read_revoked({of_session(alice)}) == set()


def test_only_the_deleted_one_of_two_tokens_is_revoked(alice: User) -> None:
    kept, _ = ApiToken.objects.create(user=alice)
    late, _ = ApiToken.objects.create(user=alice, expiry=timedelta(seconds=-1))
    gone, _ = ApiToken.objects.create(user=alice)
    credentials = {
        token.name or name: StreamCredential(alice.pk, "alice", Role.AGENT, token.public_id)
        for name, token in (("kept", kept), ("late", late), ("gone", gone))
    }
    gone.delete()
    assert read_revoked(set(credentials.values())) == {credentials["late"], credentials["gone"]}


def test_of_several_groups_the_highest_counts() -> None:
    dora = make_account("dora", "viewer", "agent", "operator")
    credential = StreamCredential(dora.pk, "dora", Role.OPERATOR)
    assert read_revoked({credential}) == set()
    dora.groups.set(dora.groups.filter(name__in=["viewer", "agent"]))
    assert read_revoked({credential}) == {credential}
