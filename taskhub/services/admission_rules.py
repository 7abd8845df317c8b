"""Limits and pauses that operators set, for the hub or for one account."""

from __future__ import annotations

import logging
from datetime import datetime
from typing import Final

from django.db import transaction
from django.utils import timezone

from taskhub.auth.actor import Actor
from taskhub.errors import Conflict
from taskhub.events.channels import ADMISSION
from taskhub.events.publish import nudge
from taskhub.lib.timestamps import iso
from taskhub.models import HUB, AdmissionRule, AnnouncementLevel
from taskhub.services.announcements import announcement_create, announcement_withdraw
from taskhub.services.audit import audit_write
from taskhub.services.dispatch import EXECUTIONS_ADMIT, send_job_on_commit

log = logging.getLogger(__name__)

AT_ONCE_LIMIT: Final = 1_000_000


@transaction.atomic
def admission_rule_set(
    *,
    actor: Actor,
    account: str = HUB,
    at_once: int | None = None,
    paused: bool = False,
    paused_until: datetime | None = None,
) -> AdmissionRule:
    """Set the limit and the pause of the hub, or of an account; what runs goes on.

    While it is paused no agent claims a task and no execution starts; a pause of the hub is announced.
    `paused_until` counts only with `paused`. Raises Conflict for an end that has passed.
    """
    if not paused:
        paused_until = None
    if paused_until is not None and paused_until <= timezone.now():
        # Not a wrong field: a minute ago it was right.
        raise Conflict("The pause would have ended already; give a later time.", code="pause_over")
    rule = AdmissionRule.objects.select_for_update().filter(pk=account).first() or AdmissionRule(account=account)
    before = _said(rule)
    rule.at_once, rule.paused, rule.paused_until, rule.changed_by = at_once, paused, paused_until, actor.name
    changes = {name: [before[name], value] for name, value in _said(rule).items() if before[name] != value}
    if rule.is_for_hub and changes.keys() & {"paused", "paused_until"}:
        _announce(actor, rule)
    rule.save()
    if changes:
        audit_write(
            actor=actor,
            action="admission:set",
            subject="hub" if rule.is_for_hub else f"account:{account}",
            changes=changes,
        )
    send_job_on_commit(EXECUTIONS_ADMIT)
    nudge(ADMISSION, "rule-set", {"account": account})
    return rule


def _said(rule: AdmissionRule) -> dict[str, object]:
    until = iso(rule.paused_until) if rule.paused_until else None
    return {"at_once": rule.at_once, "paused": rule.paused, "paused_until": until}


def _announce(actor: Actor, rule: AdmissionRule) -> None:
    """Withdraw what was said of the former pause, and say what holds now; nothing where the hub is not paused."""
    former, rule.announcement = rule.announcement, None
    if former is not None and former.is_current:
        announcement_withdraw(actor=actor, announcement_id=former.pk)
    if not rule.paused:
        return
    until = f" until {rule.paused_until:%Y-%m-%d %H:%M} UTC" if rule.paused_until else ""
    text = f"New work is paused{until}: agents claim no tasks and executions wait. What runs goes on."
    try:
        rule.announcement = announcement_create(
            actor=actor, text=text, level=AnnouncementLevel.WARNING, ends_at=rule.paused_until
        )
    except Conflict as error:
        # Too many others are current; the pause must not wait for that.
        log.warning("the pause is not announced: %s", error)
