"""The admin's pages that wait on the hub's loop: cookies, messages and refusals reach a browser as from any page."""

from __future__ import annotations

from collections.abc import Iterator
from uuid import uuid4

import httpx
import pytest
from live_client import HubClient

from tests.processes import RunningHub


@pytest.fixture
def browser(client: HubClient, hub: RunningHub) -> Iterator[httpx.Client]:
    """Signed in as the operator, by the form."""
    said = next(line for line in hub.process.output if "Operator account" in line)
    password = said.split("password: ")[1].split(" ")[0]
    with httpx.Client(base_url=client.address, follow_redirects=True) as made:
        made.get("/admin/login/")
        send(made, "/admin/login/?next=/admin/", username="operator", password=password)
        yield made


def send(browser: httpx.Client, page: str, **fields: str) -> httpx.Response:
    return browser.post(page, data={"csrfmiddlewaretoken": browser.cookies["csrftoken"], **fields})


def test_a_form_that_waits_for_the_sandbox_service(browser: httpx.Client) -> None:
    name = f"e-{uuid4()}"
    listed = send(browser, "/admin/sandboxes/secret/add/", name=name, value="value-of-it", hosts="npm.example.com")
    assert listed.url.path == "/admin/sandboxes/secret/"
    assert f"The entry {name} was made." in listed.text
    assert f"The entry {name} was made." not in browser.get("/admin/sandboxes/secret/").text  # it is told once
    assert listed.headers["Content-Security-Policy"] == browser.get("/admin/").headers["Content-Security-Policy"]
    assert browser.get("/admin/sandboxes/secret/none/change/").status_code == 404

    page = "/admin/taskhub/environment/add/"
    given = {"name": name, "network_kind": "open", "open_to_all": "on", "env": "{}"}
    refused = send(browser, page, **given, snapshot=f"none-{name}", secrets=f'{{"A": "{name}"}}')
    assert (refused.status_code, refused.url.path) == (200, page)
    assert "has no snapshot of the name" in refused.text
    saved = send(browser, page, **given, secrets=f'{{"A": "{name}"}}')
    assert saved.url.path == "/admin/taskhub/environment/"
    assert "was added successfully" in saved.text
    assert browser.post(page, data=given).status_code == 403  # without the token of the form
