"""The admin in a real browser, on a desk and a phone: pages work under their policy, without a word in the console."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import httpx
import pytest
from live_client import HubClient

from taskhub.admin.base import short_id
from tests.processes import RunningHub
from tests.streaming import open_stream, until

if TYPE_CHECKING:
    from playwright.sync_api import Page

pytestmark = pytest.mark.browser
LISTS = [
    *("taskhub/task", "taskhub/execution", "taskhub/announcement", "taskhub/auditentry", "taskhub/apitoken"),
    *("taskhub/streamconnection", "taskhub/streamprocess", "django_eventstream/event", "auth/user", "auth/group"),
    *("sandboxes/sandbox", "sandboxes/subscription", "sandboxes/poll"),
    *("taskhub/webhookendpoint", "taskhub/webhookdelivery"),
]
PHONE = {"width": 390, "height": 844}


@pytest.fixture
def admin(page: Page, client: HubClient, hub: RunningHub) -> Page:
    """Logged in, by the form."""
    said = next(line for line in hub.process.output if "Operator account" in line)
    page.goto(f"{client.address}/admin/")
    page.fill("#id_username", "operator")
    page.fill("#id_password", said.split("password: ")[1].split(" ")[0])
    page.click("#login-form button[type=submit]")
    page.wait_for_selector(".hub-figures")
    return page


def run_a_task(client: HubClient, title: str) -> dict[str, Any]:
    """A task whose script has ended."""
    with open_stream(f"{client.address}/api/events/stream") as frames:
        next(frames)
        task: dict[str, Any] = client.http.post("/api/tasks/", json={"title": title}).json()
        client.http.post(f"/api/exec/{task['id']}", json={"script_content": "echo done"})
        until(
            frames,
            lambda frame: (
                bool(frame.data)
                and frame.json()["data"].get("task_id") == task["id"]
                and frame.json()["data"].get("execution_event") == "completed"
            ),
        )
    return task


def choose(page: Page, title: str, action: str) -> None:
    """Tick the row and run the action on it."""
    page.locator("tr", has_text=title).locator("input.action-select").check()
    page.select_option("select[name=action]", label=action)
    page.click(".hub-actions button")


def test_every_page_of_the_admin_works_under_its_policy(admin: Page, client: HubClient, complaints: list[str]) -> None:
    task = run_a_task(client, "for the lists")
    for size in (PHONE, {"width": 1280, "height": 800}):
        admin.set_viewport_size(size)
        for path in LISTS:
            admin.goto(f"{client.address}/admin/{path}/")
            admin.wait_for_selector("#content-main")
            if path == "taskhub/task":
                assert admin.evaluate("document.documentElement.scrollWidth <= window.innerWidth")
    for path in (f"taskhub/task/{task['id']}", "auth/user/1"):
        admin.goto(f"{client.address}/admin/{path}/change/")
        admin.wait_for_selector("#content-main")
    for path in (
        "auth/user/add",
        "taskhub/announcement/add",
        "taskhub/apitoken/add",
        "taskhub/webhookendpoint/add",
        "taskhub/environment/add",
        "sandboxes/secret",
        "sandboxes/secret/add",
        "password_change",
    ):
        admin.goto(f"{client.address}/admin/{path}/")
        admin.wait_for_selector("#content")
    assert complaints == []


def test_menus_open_the_theme_changes_and_stays(admin: Page, client: HubClient, complaints: list[str]) -> None:
    admin.set_viewport_size(PHONE)
    tasks = admin.locator("#nav-sidebar-apps a", has_text="Tasks")
    assert not tasks.is_visible()
    admin.locator("[x-on\\:click*='sidebarMobileOpen']:visible").first.click()
    tasks.wait_for(state="visible")
    tasks.click()
    admin.wait_for_url("**/taskhub/task/")
    for theme in ("dark", "light"):
        admin.evaluate(f"localStorage.setItem('adminTheme', JSON.stringify('{theme}'))")
        admin.reload()
        admin.locator(f"html.{theme}").wait_for()
    admin.emulate_media(color_scheme="dark")
    admin.evaluate("localStorage.removeItem('adminTheme')")
    admin.reload()
    admin.locator("html.dark").wait_for()
    assert complaints == []


def test_actions_are_run_on_chosen_rows_and_on_a_rows_own_page(
    admin: Page, client: HubClient, complaints: list[str]
) -> None:
    task = client.http.post("/api/tasks/", json={"title": "to be acted on"}).json()
    admin.goto(f"{client.address}/admin/taskhub/task/?q=to+be+acted+on")
    choose(admin, "to be acted on", "Change status…")
    admin.select_option("select[name=status]", "review")
    admin.click("button[name=_answered]")
    admin.wait_for_selector("text=0 of 1 now Review.")
    admin.wait_for_selector("text=A task that is todo cannot become review")
    choose(admin, "to be acted on", "Run…")
    admin.fill("textarea[name=script]", "echo from the admin; sleep 60")
    admin.click("button[name=_answered]")
    admin.wait_for_selector("text=1 of 1 queued.")
    admin.goto(f"{client.address}/admin/taskhub/task/{task['id']}/change/")
    with open_stream(f"{client.address}/api/events/stream?task_id={task['id']}&since=2020-01-01") as frames:
        until(frames, lambda frame: '"execution_event":"started"' in frame.data)
        admin.click("button[value=stop]")
        admin.wait_for_selector("text=1 of 1 being stopped.")
        assert admin.url.endswith(f"/admin/taskhub/task/{task['id']}/change/")
        until(frames, lambda frame: '"execution_event":"stopped"' in frame.data)
    history = client.http.get(f"/api/tasks/{task['id']}/history/").json()["results"]
    assert {entry["door"] for entry in history if entry["action"] in {"execution:queue", "execution:stop"}} == {"admin"}
    assert complaints == []


def test_a_sandbox_is_deleted_after_a_question(admin: Page, client: HubClient, complaints: list[str]) -> None:
    made = client.http.post("/api/sandboxes/", json={}).json()
    with open_stream(f"{client.address}/sse?sandboxId={made['id']}") as frames:
        until(frames, lambda frame: frame.event == "sandbox-status")
        admin.goto(f"{client.address}/admin/sandboxes/sandbox/?q={made['id']}")
        choose(admin, short_id(made["id"]), "Delete…")
        admin.wait_for_selector("text=Delete these sandboxes, with their processes and files?")
        assert client.http.get(f"/api/sandboxes/{made['id']}/").status_code == 200
        admin.click("button[name=_answered]")
        admin.wait_for_selector("text=1 will be deleted; the column Last action shows the outcome.")
        last = until(frames, lambda frame: frame.event == "disconnected")[-1]
    assert last.json()["reason"] == "sandbox_destroyed"
    assert complaints == []


def test_the_dashboard_shows_what_happened(admin: Page, client: HubClient, complaints: list[str]) -> None:
    run_a_task(client, "for the dashboard")
    admin.goto(f"{client.address}/admin/")
    events = admin.locator("section", has=admin.locator("h2", has_text="Events by type, per minute"))
    assert events.locator("svg[role=img] rect").count() >= 3
    assert "task_created" in (events.locator("desc").text_content() or "")
    events.locator("summary").click()
    events.locator("tbody tr").first.wait_for(state="visible")
    admin.click("text=Last day")
    admin.wait_for_selector("text=Events by type, per half hour")
    for scheme in ("light", "dark"):
        admin.emulate_media(color_scheme=scheme)
        admin.set_viewport_size(PHONE)
        assert admin.evaluate("document.documentElement.scrollWidth <= window.innerWidth")
    assert complaints == []


def test_only_the_admin_may_compile_and_nothing_may_stand_in_a_page(client: HubClient) -> None:
    for path in ("/", "/login/", "/test_sse.html", "/api/docs/"):
        assert "unsafe" not in httpx.get(f"{client.address}{path}").headers["Content-Security-Policy"]
    policy = httpx.get(f"{client.address}/admin/login/").headers["Content-Security-Policy"]
    assert policy.count("unsafe") == policy.count("'unsafe-eval'") == 1
