"""How tests use `/sse-demo.html`: what people do on it, by the words they see."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from live_client import HubClient

if TYPE_CHECKING:
    from playwright.sync_api import Locator, Page, Route

# As WCAG counts it, between a visible text and the ground it stands on.
LEAST_CONTRAST = """() => {
  const parts = (colour) => colour.match(/[\\d.]+/g).map(Number);
  const light = (colour) => parts(colour).slice(0, 3)
    .map((part) => part / 255)
    .map((part) => (part <= 0.04045 ? part / 12.92 : ((part + 0.055) / 1.055) ** 2.4))
    .reduce((sum, part, n) => sum + part * [0.2126, 0.7152, 0.0722][n], 0);
  const ground = (element) => {
    const { backgroundColor } = getComputedStyle(element);
    return parts(backgroundColor)[3] === 0 ? ground(element.parentElement) : backgroundColor;
  };
  const texts = [...document.querySelectorAll("body *")].filter(
    (each) => each.checkVisibility() && [...each.childNodes].some((node) => node.nodeType === 3 && node.data.trim()),
  );
  return Math.min(...texts.map((each) => {
    const [dark, bright] = [light(getComputedStyle(each).color), light(ground(each))].sort((a, b) => a - b);
    return (bright + 0.05) / (dark + 0.05);
  }));
}"""

POLICY = (
    "default-src 'none'; script-src 'self'; style-src 'self'; font-src 'self'; connect-src 'self'; img-src 'self'; "
    "base-uri 'none'; form-action 'self'; frame-ancestors 'none'"
)


def serve_strictly(page: Page) -> None:
    """Under the strictest policy that a site may set: nothing inline, nothing from elsewhere."""

    def with_policy(route: Route) -> None:
        answer = route.fetch()
        route.fulfill(response=answer, headers={**answer.headers, "content-security-policy": POLICY})

    page.context.route("**/sse-demo.html*", with_policy)


class Demo:
    """The page, as people speak of it."""

    def __init__(self, page: Page, client: HubClient) -> None:
        self.page = page
        self.client = client

    def open(self, query: str = "") -> None:
        self.page.goto(f"{self.client.address}/sse-demo.html{query}")
        self.page.wait_for_selector("#sandbox[data-choices]")

    def use_token(self) -> None:
        self.page.fill("#token", self.client.hub.token)
        self.page.click("text=Use token")
        self.page.wait_for_selector('#access-note:has-text("A token is in use")')

    def show(self, sandbox_id: str) -> None:
        """Open the page on a sandbox of the test's own, and be allowed to write."""
        self.open(f"?sandboxId={sandbox_id}")
        self.use_token()
        self.wait_for_state("status", "connected")

    def wait_for_state(self, stream: str, state: str, words: str = "") -> None:
        self.page.wait_for_selector(f'#{stream}-stream [data-state="{state}"]')
        if words:
            self.page.wait_for_selector(f'#{stream}-stream .words:has-text("{words}")')

    def wait_for_sandbox(self, state: str) -> None:
        self.page.wait_for_selector(f'#sandbox-state:text-is("{state}")')

    def run(self, line: str) -> None:
        self.page.fill("#line", line)
        self.page.click("#run button")

    def run_elsewhere(self, line: str) -> None:
        """Over REST, in a session beside the one that is shown."""
        sessions = f"/api/sandboxes/{self.page.locator('#sandbox').input_value()}/sessions/"
        session_id = self.client.http.post(sessions, json={}).json()["sessionId"]
        answer = self.client.http.post(f"{sessions}{session_id}/commands/", json={"command": line})
        assert answer.status_code == 202, answer.text

    def wait_for_end(self, words: str) -> None:
        self.page.wait_for_selector(f'#outcome:has-text("{words}")')

    def wait_for_line(self, text: str) -> None:
        self.page.wait_for_selector(f'#log .text:text-is("{text}")')

    def lines(self) -> list[str]:
        return self.page.locator("#log .text").all_text_contents()

    def find(self, name: str, role: Any = "button") -> Locator:
        return self.page.get_by_role(role, name=name, exact=True)


def make_sandbox(client: HubClient) -> str:
    answer = client.http.post("/api/sandboxes/", json={})
    assert answer.status_code == 201, answer.text
    return str(answer.json()["id"])
