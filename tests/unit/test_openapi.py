from __future__ import annotations

import re
from html.parser import HTMLParser

import pytest
from django.contrib.staticfiles import finders
from rest_framework.test import APIClient

pytestmark = [pytest.mark.django_db, pytest.mark.sqlite_suffices]


def test_the_document_names_every_address_once(anonymous: APIClient) -> None:
    document = anonymous.get("/api/schema/", headers={"Accept": "application/vnd.oai.openapi+json"}).json()
    assert document["openapi"].startswith("3.")
    summaries = [each["summary"] for methods in document["paths"].values() for each in methods.values()]
    # Each says what it does: the words of a class that several views share do not, and nothing renders backticks.
    assert [summary for summary in summaries if summary.startswith("For ") or "`" in summary] == []
    addresses = {(path, method) for path, methods in document["paths"].items() for method in methods}
    assert addresses == {
        ("/api/tasks/", "get"),
        ("/api/tasks/", "post"),
        ("/api/tasks/{task_id}/", "get"),
        ("/api/tasks/{task_id}/", "patch"),
        ("/api/tasks/{task_id}/", "delete"),
        ("/api/tasks/{task_id}/history/", "get"),
        ("/api/tasks/board/", "get"),
        ("/api/tasks/cards/", "get"),
        ("/api/tasks/claim/", "post"),
        ("/api/tasks/{task_id}/claim/", "post"),
        ("/api/tasks/{task_id}/release/", "post"),
        ("/api/tasks/{task_id}/verify/", "post"),
        ("/api/tasks/{task_id}/waive/", "post"),
        ("/api/tasks/{task_id}/notes/", "get"),
        ("/api/tasks/{task_id}/notes/", "post"),
        ("/api/tasks/status/{task_id}/", "put"),
        ("/api/events/status/", "get"),
        ("/api/admission/", "get"),
        ("/api/admission/", "put"),
        ("/api/admission/accounts/", "get"),
        ("/api/admission/accounts/{account}/", "put"),
        ("/api/announcements/", "get"),
        ("/api/announcements/", "post"),
        ("/api/announcements/{announcement_id}/", "delete"),
        ("/api/tasks/{task_id}/executions/", "get"),
        ("/api/executions/", "get"),
        ("/api/executions/{execution_id}/", "get"),
        ("/api/events/stream", "get"),
        ("/api/exec/logs/{task_id}/stream", "get"),
        ("/sse", "get"),
        ("/api/", "get"),
        ("/api/me/", "get"),
        ("/api/overview/", "get"),
        ("/api/tokens/", "get"),
        ("/api/tokens/", "post"),
        ("/api/tokens/{token_id}/", "delete"),
        ("/api/tickets/", "post"),
        ("/api/exec/{task_id}/", "post"),
        ("/api/exec/status/{task_id}/", "get"),
        ("/api/exec/logs/{task_id}/", "get"),
        ("/api/exec/logs/{task_id}/raw/", "get"),
        ("/api/exec/logs/{task_id}/search/", "get"),
        ("/api/exec/artifacts/{task_id}/", "get"),
        ("/api/exec/artifacts/{task_id}/zip/", "get"),
        ("/api/exec/artifacts/{task_id}/{artifact_id}/", "get"),
        ("/api/exec/artifacts/{task_id}/{artifact_id}/preview/", "get"),
        ("/api/exec/stop/{task_id}/", "post"),
        ("/api/sandboxes/", "get"),
        ("/api/sandboxes/", "post"),
        ("/api/sandboxes/{sandbox_id}/", "get"),
        ("/api/sandboxes/{sandbox_id}/", "delete"),
        ("/api/sandboxes/{sandbox_id}/start/", "post"),
        ("/api/sandboxes/{sandbox_id}/stop/", "post"),
        ("/api/sandboxes/{sandbox_id}/build-log/", "get"),
        ("/api/sandboxes/{sandbox_id}/sessions/", "get"),
        ("/api/sandboxes/{sandbox_id}/sessions/", "post"),
        ("/api/sandboxes/{sandbox_id}/sessions/{session_id}/", "get"),
        ("/api/sandboxes/{sandbox_id}/sessions/{session_id}/", "delete"),
        ("/api/sandboxes/{sandbox_id}/sessions/{session_id}/commands/", "post"),
        ("/api/sandboxes/{sandbox_id}/sessions/{session_id}/commands/{command_id}/", "get"),
        ("/api/sandboxes/{sandbox_id}/sessions/{session_id}/commands/{command_id}/logs/", "get"),
        ("/api/sandboxes/{sandbox_id}/history/", "get"),
        ("/api/sandboxes/{sandbox_id}/files/", "get"),
        ("/api/sandboxes/{sandbox_id}/files/content/", "get"),
        ("/api/agents/", "get"),
        ("/api/agents/{agent_id}/release/", "post"),
        ("/api/agents/{agent_id}/stop/", "post"),
        ("/api/agents/{agent_id}/stop-executions/", "post"),
        ("/api/secrets/", "get"),
        ("/api/secrets/", "post"),
        ("/api/secrets/{secret}/", "get"),
        ("/api/secrets/{secret}/", "patch"),
        ("/api/secrets/{secret}/", "delete"),
        ("/api/environments/", "get"),
        ("/api/environments/", "post"),
        ("/api/environments/{environment}/", "get"),
        ("/api/environments/{environment}/", "patch"),
        ("/api/environments/{environment}/", "delete"),
        ("/api/webhooks/", "get"),
        ("/api/webhooks/", "post"),
        ("/api/webhooks/{webhook_id}/", "get"),
        ("/api/webhooks/{webhook_id}/", "patch"),
        ("/api/webhooks/{webhook_id}/", "delete"),
        ("/api/webhooks/{webhook_id}/secret/", "post"),
        ("/api/webhooks/{webhook_id}/test/", "post"),
        ("/api/webhooks/{webhook_id}/deliveries/", "get"),
        ("/api/webhooks/{webhook_id}/deliveries/{delivery_id}/send-again/", "post"),
        ("/api/subscriptions/", "get"),
        ("/api/subscriptions/{subscription_id}/", "delete"),
    }


def test_the_pages_need_nothing_from_elsewhere(anonymous: APIClient) -> None:
    page = anonymous.get("/api/docs/").content.decode()
    assert "http://" not in page
    assert "https://" not in page

    class Assets(HTMLParser):
        def __init__(self) -> None:
            super().__init__()
            self.found: list[str] = []

        def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
            self.found += [value for name, value in attrs if name in {"src", "href"} and value]

    assets = Assets()
    assets.feed(page)
    static = [re.sub("^/static/", "", asset) for asset in assets.found if asset.startswith("/static/")]
    assert len(static) >= 3
    for asset in static:
        assert finders.find(asset), asset
