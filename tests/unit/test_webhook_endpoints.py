"""Webhook endpoints over REST and in the admin: who may, what is shown, what is audited."""

from __future__ import annotations

from datetime import timedelta
from typing import Any
from uuid import uuid4

import pytest
from django.contrib.auth.models import User
from django.test import Client
from django.utils import timezone
from rest_framework.test import APIClient

from taskhub.auth.actor import SYSTEM
from taskhub.errors import Forbidden
from taskhub.models import ApiToken, AuditEntry, DeliveryStatus, WebhookDelivery, WebhookEndpoint
from taskhub.roles import Role
from taskhub.selectors.webhooks import webhook_list_for
from taskhub.services.tasks import task_create
from taskhub.webhooks import endpoints as services
from taskhub.webhooks.endpoints import endpoint_create
from taskhub.webhooks.queue import deliveries_write
from tests.admin_pages import act, list_of
from tests.conftest import make_account

pytestmark = pytest.mark.django_db
URL = "https://hooks.example/services/T0/secret-path?key=k"


@pytest.fixture
def rest(operator: User) -> APIClient:
    """The API as an operator."""
    _, token = ApiToken.objects.create(user=operator)
    operator_client = APIClient()
    operator_client.credentials(HTTP_AUTHORIZATION=f"Bearer {token}")
    return operator_client


def made_over(rest: APIClient, **fields: Any) -> dict[str, Any]:
    answer = rest.post("/api/webhooks/", {"url": URL, **fields}, format="json")
    assert answer.status_code == 201, answer.content
    assert answer["Cache-Control"] == "no-store"
    body: dict[str, Any] = answer.json()
    return body


def audited(verb: str) -> AuditEntry:
    return AuditEntry.objects.get(action=f"webhook:{verb}")


# --- REST --------------------------------------------------------------------------------------------


def test_an_endpoint_is_created_and_its_secret_shown_once(rest: APIClient, operator: User) -> None:
    made = made_over(rest, description="CI", event_types=["task_updated", "task_created"], private=True)
    assert made["secret"].startswith("whsec_")
    assert made["event_types"] == ["task_created", "task_updated"]
    assert (made["is_active"], made["private"], made["created_by"], made["cursor"]) == (True, True, "operator", 0)
    one = rest.get(f"/api/webhooks/{made['id']}/").json()
    assert one == {name: value for name, value in made.items() if name != "secret"}
    assert rest.get("/api/webhooks/").json()["results"] == [one]
    entry = audited("create")
    assert (entry.actor, entry.door, entry.subject) == (operator, "rest", f"webhook:{made['id']}")
    assert entry.changes["url"] == [None, "https://hooks.example"], "no path: it may be as good as a password"


@pytest.mark.parametrize(
    ("fields", "wrong"),
    [
        ({"url": "http://hooks.example/"}, "url"),
        ({"url": "https://127.0.0.1/"}, "url"),
        ({"url": 7}, "url"),
        ({"event_types": ["nothing"]}, "event_types"),
        ({"event_types": "task_created"}, "event_types"),
        ({"private": "yes"}, "private"),
        ({"secret": "whsec_mine"}, "secret"),
        ({"description": "x" * 201}, "description"),
    ],
)
def test_each_wrong_field_is_named(rest: APIClient, fields: dict[str, Any], wrong: str) -> None:
    answer = rest.post("/api/webhooks/", {"url": URL, **fields}, format="json")
    assert answer.status_code == 400
    assert list(answer.json()["error"]["details"]) == [wrong]
    assert not WebhookEndpoint.objects.exists()
    assert not AuditEntry.objects.exists()


def test_the_number_of_endpoints_is_limited(rest: APIClient, monkeypatch) -> None:
    monkeypatch.setattr(services, "ENDPOINTS_LIMIT", 1)
    made_over(rest)
    answer = rest.post("/api/webhooks/", {"url": URL}, format="json")
    assert (answer.status_code, answer.json()["error"]["code"]) == (409, "too_many_webhooks")


def test_an_endpoint_is_changed(rest: APIClient) -> None:
    made = made_over(rest)
    WebhookEndpoint.objects.update(failing_since=timezone.now(), notice="n")
    address = f"/api/webhooks/{made['id']}/"
    changed = rest.patch(address, {"description": "CI", "event_types": []}, format="json").json()
    assert (changed["description"], changed["notice"]) == ("CI", "n")
    assert audited("update").changes == {"description": ["", "CI"]}, "what stays is no change"
    changed = rest.patch(address, {"url": URL + "2", "is_active": False}, format="json").json()
    assert (changed["url"], changed["is_active"], changed["failing_since"], changed["notice"]) == (
        URL + "2",
        False,
        None,
        "",
    )
    for body in ({"url": "https://10.0.0.1"}, {"cursor": "x"}, {"event_types": None}):
        assert rest.patch(address, body, format="json").status_code in {200, 400}
    assert WebhookEndpoint.objects.get().url == URL + "2"
    before = AuditEntry.objects.count()
    assert rest.patch(address, {"is_active": False}, format="json").status_code == 200
    assert AuditEntry.objects.count() == before


def test_an_endpoint_is_deleted_with_its_deliveries(rest: APIClient) -> None:
    made = made_over(rest)
    assert rest.post(f"/api/webhooks/{made['id']}/test/").status_code == 202
    assert rest.delete(f"/api/webhooks/{made['id']}/").status_code == 204
    assert not WebhookDelivery.objects.exists()
    assert audited("delete").changes["url"] == ["https://hooks.example", None]
    assert rest.delete(f"/api/webhooks/{made['id']}/").status_code == 404


def test_a_secret_is_rotated(rest: APIClient) -> None:
    made = made_over(rest)
    answer = rest.post(f"/api/webhooks/{made['id']}/secret/")
    assert (answer.status_code, answer["Cache-Control"]) == (200, "no-store")
    assert answer.json()["secret"] not in {made["secret"], ""}
    assert audited("rotate_secret").changes == {}


@pytest.mark.parametrize("role", ["", "viewer", "agent"])
def test_webhooks_are_for_operators(rest: APIClient, role: str) -> None:
    made = made_over(rest)
    operator_client = APIClient()
    if role:
        operator_client.force_login(make_account("somebody", role))
        _, token = ApiToken.objects.create(user=User.objects.get(username="somebody"))
        operator_client.credentials(HTTP_AUTHORIZATION=f"Bearer {token}")
    one, nobodys = f"/api/webhooks/{made['id']}/", uuid4()
    before = AuditEntry.objects.count()
    for method, address in [
        *[("get", "/api/webhooks/"), ("post", "/api/webhooks/"), ("get", one), ("patch", one), ("delete", one)],
        *[("post", f"{one}secret/"), ("post", f"{one}test/"), ("get", f"{one}deliveries/")],
        ("post", f"{one}deliveries/{nobodys}/send-again/"),
    ]:
        answer = getattr(operator_client, method)(address, {"url": URL}, format="json")
        assert answer.status_code in {401, 403}, (method, address)
    assert AuditEntry.objects.count() == before
    with pytest.raises(Forbidden):
        webhook_list_for(user=make_account("another", Role.AGENT.group))


# --- The admin ---------------------------------------------------------------------------------------


def test_the_admin_creates_an_endpoint_and_shows_its_secret_once(operator_client: Client, operator: User) -> None:
    assert operator_client.get(f"{list_of(WebhookEndpoint)}add/").status_code == 200
    answer = operator_client.post(
        f"{list_of(WebhookEndpoint)}add/", {"url": URL, "description": "CI", "event_types": ["task_created"]}
    )
    assert (answer.status_code, "no-store" in answer["Cache-Control"]) == (200, True)
    endpoint = WebhookEndpoint.objects.get()
    assert (endpoint.url, endpoint.event_types, endpoint.created_by) == (URL, ["task_created"], operator)
    assert "whsec_" in answer.content.decode()
    assert (audited("create").door, audited("create").actor) == ("admin", operator)
    for page in (list_of(WebhookEndpoint), f"{list_of(WebhookEndpoint)}{endpoint.pk}/change/"):
        said = operator_client.get(page).content.decode()
        assert "whsec_" not in said
        assert endpoint.sealed_secret not in said
    assert "secret-path" not in operator_client.get(list_of(WebhookEndpoint)).content.decode()


def test_the_admin_shows_errors_of_an_url(operator_client: Client) -> None:
    said = operator_client.post(f"{list_of(WebhookEndpoint)}add/", {"url": "https://127.1/"}).content.decode()
    assert "non-public" in said
    assert not WebhookEndpoint.objects.exists()


def test_the_admin_shows_refusals_of_the_service(operator_client: Client, monkeypatch) -> None:
    monkeypatch.setattr(services, "ENDPOINTS_LIMIT", 0)
    said = operator_client.post(f"{list_of(WebhookEndpoint)}add/", {"url": URL}, follow=True).content.decode()
    assert "The limit of 0 endpoints is reached" in said


def test_the_admin_changes_an_endpoint(operator_client: Client) -> None:
    endpoint, _ = endpoint_create(actor=SYSTEM, url=URL, event_types=["task_created"])
    body = {"url": URL, "description": "changed", "event_types": ["task_created"], "private": "on"}
    answer = operator_client.post(f"{list_of(WebhookEndpoint)}{endpoint.pk}/change/", body)
    assert answer.status_code == 302
    assert audited("update").changes == {"description": ["", "changed"], "private": [False, True]}
    assert audited("update").door == "admin"


def test_endpoints_are_activated_deactivated_tried_and_deleted(operator_client: Client, operator: User) -> None:
    first, second = (endpoint_create(actor=SYSTEM, url=URL, description=name)[0] for name in ("first", "second"))
    assert "2 of 2 not active." in act(operator_client, "deactivate", first, second)
    said = act(operator_client, "send_test", first)
    assert "0 of 1 being sent a test event." in said
    assert "first: The endpoint is not active; activate it first." in said
    assert "1 of 1 active." in act(operator_client, "activate", first)
    assert "1 of 1 being sent a test event." in act(operator_client, "send_test", first)
    assert WebhookDelivery.objects.get().endpoint == first
    assert "Delete these endpoints" in act(operator_client, "remove", second)
    assert WebhookEndpoint.objects.count() == 2
    assert "1 of 1 deleted." in act(operator_client, "remove", second, _answered="1")
    entries = AuditEntry.objects.exclude(actor=None).order_by("id").values_list("action", "subject", "door")
    assert list(entries) == [
        ("webhook:update", f"webhook:{second.pk}", "admin"),
        ("webhook:update", f"webhook:{first.pk}", "admin"),
        ("webhook:update", f"webhook:{first.pk}", "admin"),
        ("webhook:test", f"webhook:{first.pk}", "admin"),
        ("webhook:delete", f"webhook:{second.pk}", "admin"),
    ]
    assert set(AuditEntry.objects.exclude(actor=None).values_list("actor", flat=True)) == {operator.pk}


def test_rotated_secrets_are_shown_once(operator_client: Client) -> None:
    rows = [endpoint_create(actor=SYSTEM, url=URL, description=name)[0] for name in ("first", "second")]
    before = set(WebhookEndpoint.objects.values_list("sealed_secret", flat=True))
    assert "whsec_" not in act(operator_client, "rotate_secret", *rows)
    assert set(WebhookEndpoint.objects.values_list("sealed_secret", flat=True)) == before
    said = act(operator_client, "rotate_secret", *rows, _answered="1")
    assert said.count("whsec_") == 2
    assert not before & set(WebhookEndpoint.objects.values_list("sealed_secret", flat=True))


def test_endpoint_and_deliveries_link_to_each_other(operator_client: Client) -> None:
    endpoint, _ = endpoint_create(actor=SYSTEM, url=URL)
    endpoint_create(actor=SYSTEM, url=URL)
    task = task_create(actor=SYSTEM, title="t")
    deliveries_write()
    filtered = f"{list_of(WebhookDelivery)}?endpoint__id__exact={endpoint.pk}"
    assert filtered in operator_client.get(f"{list_of(WebhookEndpoint)}{endpoint.pk}/change/").content.decode()
    (delivery,) = operator_client.get(filtered).context["cl"].result_list
    page = operator_client.get(f"{list_of(WebhookDelivery)}{delivery.pk}/change/").content.decode()
    assert f"{list_of(WebhookEndpoint)}{endpoint.pk}/change/" in page
    assert f"/admin/taskhub/task/{task.pk}/change/" in page
    assert len(operator_client.get(f"{list_of(WebhookDelivery)}?q={task.pk}").context["cl"].result_list) == 2


def test_failing_endpoints_are_listed_and_counted(operator_client: Client) -> None:
    ages = {"well": None, "failing": timedelta(hours=1), "long": timedelta(hours=25)}
    for name, age in ages.items():
        endpoint, _ = endpoint_create(actor=SYSTEM, url=URL, description=name)
        since = None if age is None else timezone.now() - age
        WebhookEndpoint.objects.filter(pk=endpoint.pk).update(failing_since=since)
    for health, names in {"well": {"well"}, "failing": {"failing", "long"}, "long": {"long"}, "x": set(ages)}.items():
        listed = operator_client.get(list_of(WebhookEndpoint), {"health": health}).context["cl"].result_list
        assert {endpoint.description for endpoint in listed} == names
    figures = {figure.name: figure for figure in operator_client.get("/admin/").context["figures"]}
    figure = figures["Webhooks failing now"]
    assert (figure.value, figure.is_bad) == ("2", True)
    WebhookEndpoint.objects.update(is_active=False)
    figures = {figure.name: figure for figure in operator_client.get("/admin/").context["figures"]}
    assert not figures["Webhooks failing now"].is_bad


def test_the_dashboard_counts_waiting_deliveries(operator_client: Client) -> None:
    endpoint_create(actor=SYSTEM, url=URL)
    for _ in range(3):
        task_create(actor=SYSTEM, title="t")
    deliveries_write()
    WebhookDelivery.objects.filter(sequence=1).update(status=DeliveryStatus.DELIVERED)
    figures = {figure.name: figure.value for figure in operator_client.get("/admin/").context["figures"]}
    assert figures["Webhook deliveries waiting"] == "2"
