"""`manage.py shell`: a row or two in every list of the admin, with texts as long as they may be. Prints a session."""

import json
import uuid
from datetime import timedelta

from django.contrib.auth import BACKEND_SESSION_KEY, HASH_SESSION_KEY, SESSION_KEY
from django.contrib.auth.models import Group, User
from django.contrib.sessions.backends.db import SessionStore
from django.utils import timezone

from sandboxes.models import Poll, Sandbox, Subscription
from taskhub.auth.actor import Actor
from taskhub.models import (
    HUB,
    AdmissionRule,
    Agent,
    Announcement,
    ApiToken,
    Claim,
    ClaimEnd,
    Execution,
    ExecutionStatus,
    Leftover,
    StreamConnection,
    StreamProcess,
    WaitingReason,
    WebhookDelivery,
    WebhookEndpoint,
)
from taskhub.services.environments import environment_create
from taskhub.services.oauth_grants import client_register
from taskhub.services.tasks import task_create

SAID = "The first line of an error as it was pasted, with a path/that/has/no/spaces/at/all.py and a number 12345. "
now = timezone.now()
operator = User.objects.filter(is_superuser=True).first()
agent = User.objects.create(username="an-agent-with-a-name-of-its-own-and-its-machine", email="x" * 40 + "@example.com")
agent.groups.add(Group.objects.get(name="agent"))
actor = Actor(door="admin", user=operator)


def execution(status, **fields):
    task = task_create(actor=actor, title=(SAID * 2)[:190], assignee=agent.username, tags=["a" * 40], private=True)
    name = f"taskhub-{uuid.uuid4()}"
    return Execution.objects.create(
        task=task,
        status=status,
        script=SAID,
        timeout_s=600,
        session_name=name,
        log_file="logs/x",
        **{"sandbox_id": str(uuid.uuid4()), "account": agent.username, **fields},
    )


ran = {"started_at": now - timedelta(hours=30), "finished_at": now, "log_lines": 12345}
execution(ExecutionStatus.TIMED_OUT, exit_code=137, error_code="ended_round_runner", error_message=SAID, **ran)
execution(ExecutionStatus.FAILED, error_code="interpreter_missing", leftover=Leftover.POSSIBLE, **ran)
execution(ExecutionStatus.COMPLETED, exit_code=0, **ran)
execution(ExecutionStatus.RUNNING, started_at=now, stop_requested_at=now)
execution(ExecutionStatus.QUEUED, waiting_reason=WaitingReason.LIMIT, waiting_since=now)
robot = Agent.objects.create(account=agent.username, name="n" * 100, last_seen_at=now)
for count, (end, by) in enumerate([(ClaimEnd.LOST, ""), (ClaimEnd.TAKEN, agent.username)]):
    Claim.objects.create(
        task=Execution.objects.order_by("queued_at")[count].task,
        agent=robot,
        token=str(count),
        lease_s=900,
        expires_at=now,
        attempt=12345,
        ended_at=now,
        end=end,
        ended_by=by,
    )
environment_create(actor=actor, name="e" * 60, image="registry.example.com/" + "i" * 100, description=SAID[:100])
client = client_register(name="c" * 100, redirect_uris=["https://a.example/"], is_public=True)[0]
client.client_id = "https://a-long-name-of-a-host.of-a-department.example.com/" + "x" * 100
client.save()
Announcement.objects.create(text=SAID * 2, level="critical", made_by=operator, made_by_name=agent.username)
ApiToken.objects.create(user=agent, name="n" * 60)
ApiToken.objects.create(user=agent, name="n" * 90, client=client, role="operator")
report = {"clients": {"tasks": 12}, "counters": {}, "lag_events": 12345, "lag_s": 12345.6, "redis": True}
process = f"{'host' * 10}:12345:1a2b3c"
StreamProcess.objects.create(name=process, reported_at=now + timedelta(seconds=20), report=report)
filters = {"types": ["task_created", "task_updated", "execution_event"], "assignee": agent.username}
StreamConnection.objects.create(
    id=uuid.uuid4(),
    account=agent.username,
    address="2001:db8:1111:2222:3333:4444:5555:6666",
    filters=filters,
    process=process,
    opened_at=now,
)
document = {"createdAt": (now - timedelta(days=40)).isoformat(), "cpu": 4, "memory": 16, "state": "started"}
for state in ("started", "build_failed", "stopped"):
    Sandbox.objects.create(
        id=str(uuid.uuid4()),
        name="taskhub-" + "b" * 60,
        state=state,
        document=document,
        seen_at=now,
        last_action=f"stop: refused: {SAID}"[:300],
        last_action_at=now,
    )
shown = Sandbox.objects.first()
Execution.objects.filter(status="completed").update(sandbox_id=shown.pk)
Subscription.objects.create(
    user=agent,
    user_name=agent.username,
    address="2001:db8:1111:2222:3333:4444:5555:6666",
    kind="sandbox-status",
    sandbox_id=shown.pk,
    command_id=str(uuid.uuid4()),
    process=process,
    opened_at=now,
    events=1234567,
)
Poll.objects.create(
    name="sessions",
    started_at=now,
    took_ms=12345,
    watched=1000,
    requests=1000,
    error_code="upstream_unreachable",
    ticks=1234567,
    skipped=12345,
)
endpoint = WebhookEndpoint.objects.create(
    url="https://a-long-name-of-a-host.of-a-department.example.com/" + "x" * 200,
    description=(SAID * 2)[:200],
    event_types=["task_created", "task_updated", "execution_event"],
    sealed_secret="x",
    cursor=0,
    private=True,
    failing_since=now - timedelta(days=2),
    notice=(SAID * 3)[:300],
)
WebhookDelivery.objects.create(
    endpoint=endpoint,
    sequence=1,
    event_type="execution_event",
    event_id=str(uuid.uuid4()),
    body="{}",
    attempts=12,
    task_id=Execution.objects.first().task_id,
    status="failed",
    response_status=503,
    error=(SAID * 3)[:300],
    next_attempt_at=now,
)
for account in (HUB, agent.username):
    AdmissionRule.objects.create(
        account=account, at_once=1000, paused=True, paused_until=now + timedelta(days=1), changed_by=agent.username
    )
session = SessionStore()
session[SESSION_KEY] = str(operator.pk)
session[BACKEND_SESSION_KEY] = "taskhub.accounts.AccountBackend"
session[HASH_SESSION_KEY] = operator.get_session_auth_hash()
session.save()
runs = {row.status: str(row.pk) for row in Execution.objects.all()}
print(json.dumps({"session": session.session_key, "runs": runs, "sandbox": shown.pk}))  # noqa: T201 - read by the test
