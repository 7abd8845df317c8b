from __future__ import annotations

import importlib
from datetime import timedelta
from typing import Any, Self
from urllib.parse import quote

import pytest
from django.contrib.auth.forms import UserCreationForm
from django.db import connection
from django.urls import get_resolver
from django.utils import timezone
from rest_framework.test import APIClient
from rest_framework.views import APIView

from taskhub.api.query import KnownQuery
from taskhub.auth.actor import Actor
from taskhub.auth.rate_limits import failures
from taskhub.errors import Invalid
from taskhub.lib.text_folding import fold
from taskhub.models import ApiToken, Execution, ExecutionStatus, Task
from taskhub.roles import Role
from taskhub.services.accounts import account_create
from taskhub.services.tasks import task_create, task_update

pytestmark = pytest.mark.django_db
NOBODY = "0f0f0f0f-0f0f-4f0f-8f0f-0f0f0f0f0f0f"


def error(answer: Any) -> dict[str, Any]:
    found: dict[str, Any] = answer.json()["error"]
    return found


def details(answer: Any) -> Any:
    assert answer.status_code == 400, answer.content
    return error(answer)["details"]


def titles(api: APIClient, query: str) -> list[str]:
    answer = api.get(f"/api/tasks/?{query}")
    assert answer.status_code == 200, answer.content
    return [task["title"] for task in answer.json()["results"]]


@pytest.mark.parametrize(
    "address",
    [
        *(f"/api/tasks/?{query}" for query in ("statuss=done", "tag=bug", "limit=2", "search=x", "page=2", "_=1")),
        *(f"/api/{place}/?nope=1" for place in ("executions", "announcements", "events/status", "me", "sandboxes")),
        *("/api/?nope=1", "/api/schema/?nope=1", "/api/asyncapi.json?nope=1", f"/api/tasks/{NOBODY}/?nope=1"),
        *("/api/tokens/?nope=1", "/api/subscriptions/?nope=1", f"/api/exec/status/{NOBODY}?nope=1"),
        *("/api/events/stream?nope=1", f"/api/exec/logs/{NOBODY}/stream?nope=1", "/sse?sandboxId=x&nope=1"),
    ],
)
def test_unknown_query_parameters_are_refused_and_the_known_ones_named(api: APIClient, address: str) -> None:
    told = details(api.get(address))
    name = address.partition("?")[2].split("&")[-1].partition("=")[0]
    assert told[name][0].startswith("Unknown parameter. ")
    if address.startswith("/api/tasks/?"):
        assert all(known in told[name][0] for known in ("status", "tags", "q", "cursor", "page_size", "ordering"))


def test_a_parameter_of_a_list_is_unknown_to_a_single_row_and_to_a_change(api: APIClient, actor: Actor) -> None:
    task = task_create(actor=actor, title="t")
    assert "status" in details(api.get(f"/api/tasks/{task.pk}/?status=todo"))
    assert "private" in details(api.post("/api/tasks/?private=true", {"title": "u"}, format="json"))
    assert Task.objects.count() == 1


def test_every_view_of_the_api_refuses_unknown_parameters() -> None:
    importlib.import_module("config.urls")
    views = {
        getattr(pattern.callback, "cls", None)
        for resolver in get_resolver().url_patterns
        for pattern in getattr(resolver, "url_patterns", ())
        if str(resolver.pattern) == "api/"
    }
    found = {view for view in views if isinstance(view, type) and issubclass(view, APIView)}
    assert len(found) > 25
    assert {view.__name__ for view in found if not issubclass(view, KnownQuery)} == {"SpectacularSwaggerSplitView"}


def test_an_ordering_is_one_of_those_there_are(api: APIClient, actor: Actor) -> None:
    for priority in ("medium", "low", "high"):
        task_create(actor=actor, title=priority, priority=priority)
    for name in ("priority", "priority_rank"):
        assert titles(api, f"ordering={name}") == ["low", "medium", "high"]
        assert titles(api, f"ordering=-{name}") == ["high", "medium", "low"]
    told = details(api.get("/api/tasks/?ordering=bogus"))["ordering"]
    assert told == [
        (
            "Must be one of: created_at, -created_at, updated_at, -updated_at, title, -title, status, -status, "
            "priority, -priority, priority_rank, -priority_rank."
        )
    ]
    assert titles(api, "ordering=status,-priority") == ["high", "medium", "low"]


@pytest.mark.parametrize("ordering", ["", "status", "-status", "priority", "title", "-updated_at", "created_at"])
def test_pages_hold_each_row_once_while_others_come_and_go(api: APIClient, actor: Actor, ordering: str) -> None:
    now = timezone.now()
    rows = [Task(title=f"same {n % 3}", priority=("low", "high")[n % 2]) for n in range(41)]
    Task.objects.bulk_create(rows)
    Task.objects.update(created_at=now, updated_at=now)  # equal in every key but the last
    ids = {str(task.pk) for task in rows}
    seen: list[str] = []
    gone: set[str] = set()
    address = f"/api/tasks/?status=todo&page_size=10{f'&ordering={ordering}' if ordering else ''}"
    while address:
        page = api.get(address).json()
        seen += [task["id"] for task in page["results"]]
        gone.add(seen[-1])
        Task.objects.filter(pk=seen[-1]).delete()  # the row that the cursor stands behind
        Task.objects.create(title="new", status="done")
        address = page["next"]
    assert len(seen) == len(set(seen))
    assert set(seen) == ids


def test_pages_lead_back_the_way_they_came(api: APIClient) -> None:
    Task.objects.bulk_create(Task(title=str(n % 2)) for n in range(25))
    pages = [api.get("/api/tasks/?ordering=title&page_size=10").json()]
    while pages[-1]["next"]:
        pages.append(api.get(pages[-1]["next"]).json())
    assert [len(page["results"]) for page in pages] == [10, 10, 5]
    back = [pages[-1]]
    while back[-1]["previous"]:
        back.append(api.get(back[-1]["previous"]).json())
    assert [page["results"] for page in reversed(back)] == [page["results"] for page in pages]


def test_1201_tasks_of_one_status_are_seven_pages(api: APIClient) -> None:
    Task.objects.bulk_create(Task(title="t") for _ in range(1201))
    address, seen, pages = "/api/tasks/?status=todo&ordering=status&page_size=200", [], 0
    while address:
        page = api.get(address).json()
        address, seen, pages = page["next"], seen + [task["id"] for task in page["results"]], pages + 1
    assert (pages, len(seen), len(set(seen))) == (7, 1201, 1201)


@pytest.mark.parametrize("cursor", ["x", "AAAA", "e30", "eyJrIjpbXSwidiI6W10sImIiOjB9", "ü", "eyJrIjo1fQ"])
def test_a_bad_cursor_is_told(api: APIClient, cursor: str) -> None:
    answer = api.get(f"/api/tasks/?cursor={quote(cursor)}")
    assert (answer.status_code, error(answer)["message"].startswith("Invalid cursor")) == (404, True)


def test_a_cursor_of_another_ordering_is_refused(api: APIClient) -> None:
    Task.objects.bulk_create(Task(title=str(n)) for n in range(3))
    cursor = api.get("/api/tasks/?page_size=1").json()["next"].partition("cursor=")[2].partition("&")[0]
    assert api.get(f"/api/tasks/?ordering=title&cursor={cursor}").status_code == 404


def test_filters_by_tags_assignee_ids_update_and_last_execution(api: APIClient, actor: Actor) -> None:
    one = task_create(actor=actor, title="one", tags=["a", "b"], assignee="alice")
    two = task_create(actor=actor, title="two", tags=["a"])
    three = task_create(actor=actor, title="three", tags=["x,y"], assignee="bob")
    assert titles(api, "tags=a") == ["two", "one"]
    assert titles(api, "tags=a&tags=b") == titles(api, "tags=a,b") == ["one"]
    assert titles(api, "tags=x,y") == ["three"]
    assert titles(api, "tags=x") == []
    assert titles(api, "assignee=me") == ["one"]
    assert titles(api, "assignee=nobody") == ["two"]
    assert titles(api, f"ids={one.pk},{three.pk}") == titles(api, f"ids={one.pk}&ids={three.pk}") == ["three", "one"]
    assert details(api.get("/api/tasks/?ids=7"))["ids"][0].startswith("Must be a UUID")
    before = timezone.now() - timedelta(hours=1)
    Task.objects.exclude(pk=two.pk).update(updated_at=before)
    moment = (before + timedelta(minutes=30)).isoformat()
    assert moment.endswith("+00:00")
    assert titles(api, f"updated_since={moment}") == titles(api, f"updated_since={quote(moment)}") == ["two"]
    assert "updated_since" in details(api.get("/api/tasks/?updated_since=yesterday"))
    for status, minutes in ((ExecutionStatus.COMPLETED, 9), (ExecutionStatus.FAILED, 5)):
        made = Execution.objects.create(task=one, status=status, script="true", timeout_s=1)
        Execution.objects.filter(pk=made.pk).update(queued_at=timezone.now() - timedelta(minutes=minutes))
    four = task_create(actor=actor, title="four", blocked_by=[one.pk, two.pk])
    assert titles(api, f"blocked_by={one.pk}") == titles(api, f"blocked_by={two.pk}") == [four.title]
    assert titles(api, f"blocked_by={four.pk}") == []
    assert details(api.get("/api/tasks/?blocked_by=no"))["blocked_by"]
    assert titles(api, "last_execution=failed") == ["one"]
    assert titles(api, "last_execution=completed") == []
    assert titles(api, "last_execution=completed&last_execution=failed") == ["one"]
    assert details(api.get("/api/tasks/?last_execution=no"))["last_execution"][0].startswith("Must be one of: queued,")


def test_assignee_me_needs_an_account(anonymous: APIClient) -> None:
    assert anonymous.get("/api/tasks/?assignee=me").status_code == 401


@pytest.mark.parametrize("name", ["me", "nobody", "Nobody"])
def test_reserved_names_are_no_accounts(actor: Actor, name: str) -> None:
    with pytest.raises(Invalid):
        account_create(actor=actor, username=name, role=Role.VIEWER)
    form = UserCreationForm({"username": name, "password1": "a-long-pass-1", "password2": "a-long-pass-1"})
    assert "username" in form.errors


@pytest.mark.parametrize(
    ("text", "query"),
    [
        ("Überprüfung", "über"),
        ("Überprüfung", "UBERPRUF"),
        ("Straße", "STRASSE"),
        ("ΕΛΛΆΣ", "ελλας"),
        ("ŁÓDŹ", "łódź"),
        ("Lodz", "Łódź"),
        ("İstanbul", "istanbul"),
        ("cafe\u0301", "café"),
        ("ﬁnal", "FINAL"),
        ("100% sure_thing", "% SURE_"),
        ("日本語", "本"),
        ("ПРИВЕТ", "привет"),
    ],
)
def test_search_folds_case_and_accents(api: APIClient, actor: Actor, text: str, query: str) -> None:
    task = task_create(actor=actor, title="other", description="other")
    assert titles(api, f"q={quote(query)}") == []
    task_update(actor=actor, task_id=task.pk, description=f"with {text} in it")
    assert titles(api, f"q={quote(query)}") == ["other"]
    task_update(actor=actor, task_id=task.pk, description="", title=text)
    assert titles(api, f"q={quote(query)}") == [text]
    assert fold(fold(text)) == fold(text)


def test_the_migration_folds_the_tasks_there_were(actor: Actor) -> None:
    migration = importlib.import_module("taskhub.migrations.0053_task_folded_text")
    rows = [task_create(actor=actor, title=f"Ü{n}").pk for n in range(3)]
    Task.objects.update(folded_text="")
    migration.BATCH = 2
    with connection.schema_editor() if connection.vendor != "sqlite" else _NoEditor() as editor:
        migration.fill(importlib.import_module("django.apps").apps, editor)
    assert Task.objects.filter(folded_text__startswith="u", pk__in=rows).count() == 3


class _NoEditor:
    """SQLite makes no schema editor inside a test's transaction; `fill` only asks for its connection."""

    connection = connection

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        return None


@pytest.mark.parametrize(
    "title", ["\u200b", " \u2060\ufeff ", "\u3164", "\u00ad\u200d", "\u2800", "\ufe0f", "\U000e0020\U000e0100"]
)
def test_a_title_needs_a_visible_character(api: APIClient, title: str) -> None:
    assert details(api.post("/api/tasks/", {"title": title}, format="json")) == {
        "title": ["Must have a visible character."]
    }
    assert api.post("/api/tasks/", {"title": f"{title}x"}, format="json").status_code == 201


def test_choices_ids_and_fields_say_what_there_is(api: APIClient, actor: Actor) -> None:
    body = {"title": "t", "status": "open", "stauts": 1}
    assert details(api.post("/api/tasks/", body, format="json"))["stauts"][0].startswith("Unknown field. Known: title,")
    del body["stauts"]
    told = details(api.post("/api/tasks/", body, format="json"))
    assert told == {"status": ["Must be one of: todo, inprogress, review, done."]}
    assert details(api.get("/api/tasks/?status=open")) == {
        "status": ["Must be one of: todo, inprogress, review, done."]
    }
    assert details(api.get(f"/api/exec/status/{NOBODY}?execution_id=7")) == {"execution_id": ["Must be a UUID."]}
    wrong = details(api.get("/api/events/stream?types=nope&task_id=7"))
    assert wrong["types"][0].startswith("Must be one of: task_created, ")
    assert wrong["task_id"] == ["Must be a UUID."]
    bad = {"kind": "events", "params": {"task_id": "7"}}
    assert details(api.post("/api/tickets/", bad, format="json")) == {"params": {"task_id": ["Must be a UUID."]}}
    assert details(api.post("/api/tickets/", {"kind": "x"}, format="json"))["kind"][0].startswith("Must be one of: ")


@pytest.mark.parametrize("address", ["/api/tasks/not-an-id/", "/api/exec/status/7", "/api/tokens/x"])
def test_an_address_with_a_bad_id_says_so(api: APIClient, address: str) -> None:
    answer = api.get(address)
    assert answer.status_code == 404
    assert list(error(answer)["details"].values()) == [["Must be a UUID."]]
    assert error(answer)["message"].startswith("Not an id: ")
    assert "details" not in error(api.get("/api/nothing/"))


@pytest.mark.parametrize(
    ("address", "name"),
    [
        ("/api/sandboxes/a b/", "sandbox_id"),
        ("/api/sandboxes/b/sessions/a,b/", "session_id"),
        ("/api/sandboxes/b/sessions/s/commands/ü/logs", "command_id"),
        ("/api/admission/accounts/a b", "account"),
    ],
)
def test_so_does_an_address_with_a_bad_id_of_others(api: APIClient, address: str, name: str) -> None:
    answer = api.get(address)
    assert answer.status_code == 404
    assert error(answer)["details"].keys() == {name}
    assert error(answer)["message"].startswith(f"Not an id: {name} must be ")


def test_a_401_says_how_and_wrong_is_told_from_expired_and_revoked(anonymous: APIClient, alice, settings) -> None:
    settings.TASKHUB_OPEN_READING = False
    made, text = ApiToken.objects.create(user=alice)
    _, expired = ApiToken.objects.create(user=alice, expiry=timedelta(seconds=-1))

    def told(header: str | None, address: str = "/api/tasks/") -> tuple[str, str]:
        headers = {"Authorization": header} if header else {}
        answer = anonymous.get(address, headers=headers)
        assert answer.status_code == 401
        assert "Authorization: Bearer <token>" in error(answer)["message"]
        return error(answer)["code"], error(answer)["message"]

    for address in ("/api/tasks/", "/api/events/stream", "/api/asyncapi.json"):
        assert told(None, address)[0] == "not_authenticated"
        assert told("Bearer wrong", address)[1].startswith("The token is wrong.")
        assert told(f"Bearer {expired}", address)[0] == "token_expired"
        assert anonymous.get(address)["WWW-Authenticate"] == "Bearer"
    ApiToken.objects.filter(expiry__isnull=False).delete()
    assert told(f"Bearer {expired}")[0] == "token_expired"
    made.delete()
    assert told(f"Bearer {text}")[0] == "token_revoked"
    assert told(f"Bearer {text[:-1]}x")[0] == "not_authenticated"


@pytest.mark.parametrize("address", ["/api/tasks/", "/api/events/stream", "/sse?sandboxId=x", "/api/asyncapi.json"])
def test_every_429_says_when_to_come_again(anonymous: APIClient, settings, address: str) -> None:
    settings.TASKHUB_FAILED_CREDENTIALS_PER_MINUTE = 1
    headers = {"Authorization": "Bearer wrong"}
    assert anonymous.get(address, headers=headers).status_code == 401
    answer = anonymous.get(address, headers=headers)
    assert answer.status_code == 429
    assert 1 <= int(answer["Retry-After"]) <= 70
    failures.forget()


@pytest.mark.parametrize("address", ["/api/asyncapi.json", "/metrics"])
def test_views_that_only_read_refuse_other_methods(address: str) -> None:
    client = APIClient(enforce_csrf_checks=True)
    answer = client.post(address, {}, format="json")
    assert (answer.status_code, answer["Allow"]) == (405, "GET, HEAD")
    assert error(answer) == {"code": "method_not_allowed", "message": "Must be one of: GET, HEAD."}


def test_an_answer_that_is_not_json_is_refused_with_what_to_send(api: APIClient) -> None:
    answer = api.get("/api/tasks/", headers={"Accept": "application/xml"})
    assert (answer.status_code, error(answer)["code"]) == (406, "not_acceptable")
    assert "Accept: application/json" in error(answer)["message"]


def test_the_root_lists_what_there_is(api: APIClient) -> None:
    root = api.get("/api/").json()
    assert "/api/tasks/{task_id}/" in root["endpoints"]
    assert "/api/sandboxes/{sandbox_id}/sessions/" in root["endpoints"]
    for document in ("openapi", "asyncapi", "docs"):
        assert api.get(root[document]).status_code == 200


def test_the_document_is_json_when_asked_for(api: APIClient) -> None:
    answer = api.get("/api/schema/?format=json")
    assert answer["Content-Type"].startswith("application/json")
    assert answer.json()["openapi"].startswith("3.1")
    assert details(api.get("/api/schema/?format=xml")) == {"format": ["Must be one of: json, yaml."]}
