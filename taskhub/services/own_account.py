"""What an account changes of its own: its password, its open sessions and streams."""

from __future__ import annotations

from collections.abc import Collection
from uuid import UUID

from django.contrib.auth.models import User
from django.contrib.sessions.models import Session
from django.db import transaction

from taskhub.auth.actor import Actor
from taskhub.auth.browser_sessions import browser_sessions_of
from taskhub.errors import Forbidden, NotFound
from taskhub.events.process_status import ALIVE_FOR
from taskhub.models import BrowserSession, MailKind, MailPreference, StreamConnection
from taskhub.services.audit import audit_write


@transaction.atomic
def own_password_set(*, actor: Actor, password: str) -> None:
    """Set the password; the account's sessions end with it, and sign-in links. Raises Forbidden for a token.

    The caller begins the session of this request anew.
    """
    user = _person(actor)
    user.set_password(password)
    user.save(update_fields=["password"])
    # They would do nothing any more, but be listed as open until they expire.
    recorded = BrowserSession.objects.filter(user=user)
    Session.objects.filter(session_key__in=recorded.values("session_key")).delete()
    recorded.delete()
    audit_write(actor=actor, action="account:password", subject=f"account:{user.get_username()}")


@transaction.atomic
def own_mail_set(*, actor: Actor, email: str, kinds: Collection[str]) -> None:
    """The account's address, and which mail it gets there. Raises Forbidden for a token."""
    user = _person(actor)
    changes: dict[str, list[object]] = {"email": [user.email, email]} if user.email != email else {}
    user.email = email
    user.save(update_fields=["email"])
    wanted = {kind.value: kind.value in kinds for kind in MailKind}
    MailPreference.objects.update_or_create(user=user, defaults=wanted)
    changes["mail"] = [None, sorted(name for name, is_wanted in wanted.items() if is_wanted)]
    audit_write(actor=actor, action="account:mail", subject=f"account:{user.get_username()}", changes=changes)


@transaction.atomic
def own_session_end(*, actor: Actor, session_id: UUID) -> None:
    """End one of the account's sessions; its streams close within 5 s. Raises NotFound; Forbidden for a token."""
    user = _person(actor)
    found = browser_sessions_of(user).filter(pk=session_id).first()
    if found is None:
        raise NotFound("The session has ended.", code="session_not_found")
    Session.objects.filter(session_key=found.session_key).delete()
    BrowserSession.objects.filter(pk=found.pk).delete()
    changes = {"account": [user.get_username(), None], "address": [found.address, None]}
    audit_write(actor=actor, action="session:end", subject=f"session:{session_id}", changes=changes)


@transaction.atomic
def own_stream_end(*, actor: Actor, stream_id: UUID) -> None:
    """Have one of the account's event streams closed; its process does so within 2 s.

    Raises NotFound; Forbidden for a token.
    """
    user = _person(actor)
    open_ones = StreamConnection.objects.of_living(ALIVE_FOR).filter(pk=stream_id, account=user.get_username())
    if not open_ones.update(end_requested=True):
        raise NotFound("The stream has closed.", code="stream_not_found")
    audit_write(actor=actor, action="stream:end", subject=f"stream:{stream_id}")


def _person(actor: Actor) -> User:
    """A token can be lost, and expires: it gives no power over what opens the account without it. Raises Forbidden."""
    if actor.user is None or actor.token is not None:
        raise Forbidden("Sign in with your password or a link for this; a token may not do it.")
    return actor.user
