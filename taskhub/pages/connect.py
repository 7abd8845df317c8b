"""`/connect/`: how programs, pages and agents connect to this hub, as snippets with its address.

The page's script makes a token of the reader's own on demand and fills it in: `YOUR_TOKEN`, and in the EventSource page
`TICKET_URL`. `tests/live/test_first_minute_pages.py` runs what it shows.
"""

from __future__ import annotations

from dataclasses import dataclass
from string import Template
from typing import Final
from urllib.parse import urlsplit

from django.conf import settings
from django.http import HttpRequest, HttpResponse
from django.shortcuts import render
from django.views.decorators.cache import never_cache

from taskhub.pages import page
from taskhub.roles import ROLES, Role, role_of


@dataclass(frozen=True, slots=True)
class Snippet:
    """`name` is its id on the page, `about` a sentence before it, `needs` the least role of the token in it."""

    name: str
    title: str
    about: str
    code: str
    needs: Role = Role.AGENT


CURL: Final = """\
TOKEN=YOUR_TOKEN
TASK=$$(curl -sS $hub/api/tasks/ -H "Authorization: Bearer $$TOKEN" -H 'Content-Type: application/json' \\
  -d '{"title": "Say hello with curl"}' | python3 -c 'import json, sys; print(json.load(sys.stdin)["id"])')
curl -sS "$hub/api/exec/$$TASK" -H "Authorization: Bearer $$TOKEN" -H 'Content-Type: application/json' \\
  -d '{"script_content": "for n in 1 2 3; do echo line $$n; done"}'
curl -sSN "$hub/api/exec/logs/$$TASK/stream" -H "Authorization: Bearer $$TOKEN"
"""
PYTHON: Final = """\
import json
from urllib.request import Request, urlopen

HUB, TOKEN = "$hub", "YOUR_TOKEN"


def ask(path, body=None):
    headers = {"Authorization": f"Bearer {TOKEN}", "Content-Type": "application/json"}
    return urlopen(Request(HUB + path, json.dumps(body).encode() if body else None, headers))


task = json.load(ask("/api/tasks/", {"title": "Say hello from Python"}))
ask(f"/api/exec/{task['id']}", {"script_content": "for n in 1 2 3; do echo line $$n; done"})
for line in ask(f"/api/exec/logs/{task['id']}/stream"):
    if line.startswith(b"data: "):
        print(json.loads(line.removeprefix(b"data: ")))
"""
PAGE: Final = """\
<!doctype html>
<html lang="en">
<meta charset="utf-8">
<title>TaskHub, live</title>
<ol id="events"></ol>
<script>
  const source = new EventSource("TICKET_URL");
  source.onmessage = ({ data }) => {
    const { event, timestamp } = JSON.parse(data);
    const line = document.createElement("li");
    line.textContent = timestamp + " " + event;
    document.getElementById("events").append(line);
  };
</script>
</html>
"""
CLAUDE: Final = """\
claude mcp add --transport http taskhub $hub/mcp --header "Authorization: Bearer YOUR_TOKEN"
"""
JSON: Final = """\
{
  "mcpServers": {
    "taskhub": {
      "type": "http",
      "url": "$hub/mcp",
      "headers": { "Authorization": "Bearer YOUR_TOKEN" }
    }
  }
}
"""
WEBHOOK: Final = """\
curl -sS $hub/api/webhooks/ -H "Authorization: Bearer YOUR_TOKEN" -H 'Content-Type: application/json' \\
  -d '{"url": "https://ci.example.com/hooks/taskhub", "description": "CI", "event_types": ["task_created"]}'
"""
FLOWER: Final = """\
python3 -m venv flower
flower/bin/pip install flower==2.2.0 celery==5.7.0 redis==8.1.0 packaging
FLOWER_BASIC_AUTH=operator:a-password flower/bin/celery --broker "$broker" flower --address=127.0.0.1 --port=5555
"""


def snippets_for(*, hub: str, role: Role) -> list[Snippet]:
    """What a reader of this role may use. `hub`: its address without a slash at the end."""
    filled = {"hub": hub, "broker": _broker()}
    return [
        Snippet(each.name, each.title, each.about, Template(each.code).substitute(filled), each.needs)
        for each in _SNIPPETS
        if each.needs <= max(role, Role.AGENT)
    ]


def _broker() -> str:
    """The broker's address as Celery takes it. Of one that may hold a password only the variable is named."""
    address = str(settings.CELERY_BROKER_URL)
    return address if urlsplit(address).scheme == "redis+socket" else "$REDIS_URL"


_SNIPPETS: Final = (
    Snippet(
        "claude",
        "Claude Code",
        "Adds the hub as an MCP server. Then say to it: claim a task of taskhub, and work on it.",
        CLAUDE,
    ),
    Snippet(
        "json",
        "Other MCP clients",
        "Cursor reads this from ~/.cursor/mcp.json, and most others from a file like it. VS Code's mcp.json says "
        '"servers" for "mcpServers"; Cline\'s settings say "type": "streamableHttp".',
        JSON,
    ),
    Snippet("curl", "curl", "Creates a task, runs a script for it, and follows the log to its end.", CURL),
    Snippet("python", "Python", "The same with Python 3.9 or newer; nothing to install.", PYTHON),
    Snippet(
        "page",
        "A page of your own",
        "EventSource sends no headers, so its address has a ticket. A ticket opens this one stream for 10 minutes, "
        "also when the browser reconnects; what is open stays open. Pages in use get theirs from your own server: "
        'POST /api/tickets/ with the token and {"kind": "events"}.',
        PAGE,
    ),
    Snippet(
        "webhook",
        "Webhooks",
        "The hub sends its events to an address of yours, signed. The answer shows the secret once. "
        "The token needs the role operator.",
        WEBHOOK,
        Role.OPERATOR,
    ),
    Snippet(
        "flower",
        "Flower",
        "Flower is a page about Celery, which runs this hub's jobs: workers and jobs, at http://127.0.0.1:5555, on the "
        "machine of the hub's Redis. Choose a password.",
        FLOWER,
        Role.OPERATOR,
    ),
)


@never_cache
@page
def connect(request: HttpRequest) -> HttpResponse:
    hub = request.build_absolute_uri("/").rstrip("/")
    context = {"snippets": snippets_for(hub=hub, role=role_of(request.user)), "roles": list(ROLES)}
    context["usual_role"] = Role.AGENT.group
    return render(request, "connect.html", context)
