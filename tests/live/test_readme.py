"""Examples of README and docs, run as they are written against a hub."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import httpx
from live_client import HubClient

from tests.git_servers import GitServer, git, git_daemon, make_repository
from tests.processes import ROOT, Process, RunningHub


def examples(language: str, page: str = "README.md") -> list[str]:
    return re.findall(rf"^```{language}\n(.*?)^```", (ROOT / page).read_text(), re.MULTILINE | re.DOTALL)


def example(language: str, words: str, page: str = "README.md") -> str:
    """The one example that holds these words."""
    (found,) = [code for code in examples(language, page) if words in code]
    return found


def written_for(hub: RunningHub, code: str) -> str:
    """The example as its reader would run it, with this hub's address and token file."""
    return code.replace("http://localhost:8000", hub.address).replace("var/token", str(hub.data_dir / "token"))


def commands(console: str) -> list[str]:
    """What is typed at a console example's prompts: lines, as long as a quote is open, or after a backslash."""
    found: list[str] = []
    is_open = False
    for line in console.splitlines():
        if is_open:
            found[-1] += f"\n{line}"
        elif line.startswith("$ "):
            found.append(line.removeprefix("$ "))
        else:
            continue
        is_open = line.endswith("\\") or found[-1].count("'") % 2 == 1
    return found


def ran(script: str, folder: Path) -> str:
    """What the commands print."""
    done = subprocess.run(
        ["sh", "-e", "-c", script], cwd=folder, capture_output=True, text=True, check=False, timeout=300
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_the_example_of_executions_creates_a_task_and_follows_its_log(hub: RunningHub, tmp_path: Path) -> None:
    page = "docs/executions.md"
    said = ran(written_for(hub, "\n".join(commands(example("console", "Say hello", page)))), tmp_path)
    assert [f'"line":"line {n}"' in said for n in (1, 2, 3)] == [True] * 3
    assert "event: log-complete" in said


def test_the_tour_proves_its_task(hub: RunningHub, tmp_path: Path) -> None:
    """With a repository and a port of its own in the place of the clone's, beside the stream."""
    make_repository(tmp_path / "clone", README="a clone")
    stream = Process(["sh", "-c", f"exec {written_for(hub, example('sh', '/api/events/stream'))}"], hub.env)
    try:
        stream.wait_for_line('"event":"connected"')
        with git_daemon(tmp_path) as address:
            tour = written_for(hub, example("sh", "git daemon")).replace("git://localhost/.git", f"{address}/clone")
            said = ran(re.sub(r"^git daemon .*\n|; kill %1", "", tour, flags=re.MULTILINE), tmp_path)
        assert '"title":"Say hello"' in stream.wait_for_line('"event":"task_created"')
        stream.wait_for_line('"verified":"passed"')
    finally:
        stream.end()
    commit = git(tmp_path / "clone", "rev-parse", "--short", "HEAD")
    assert (
        said.split()
        == f"""
        1 completed
        [TaskHub: checkout] [TaskHub: setup] 1 [TaskHub: script] hello {commit}
        passed done""".split()
    )


def test_the_recipe_of_a_private_repository(client: HubClient, tmp_path: Path) -> None:
    """With a git server of its own in the place of the one on port 3000."""
    repository = make_repository(tmp_path / "secret", plan__md="the plan\n")
    git(repository, "commit", "-q", "--amend", "-m", "plan")
    task_id = client.create_task()
    env = {**client.hub.env, "TASK": task_id, "TOKEN": client.hub.token}
    with GitServer(tmp_path, ("bot", "s3cret-t0ken")).serving() as server:
        recipe = example("console", "s3cret-t0ken", "docs/environments.md").replace("localhost:3000", server.host)
        *first, last = commands(written_for(client.hub, recipe))
        for each in first:
            subprocess.run(["sh", "-ec", each], env=env, capture_output=True, check=True, timeout=300)
        client.wait_for_end(task_id)
        log = subprocess.run(
            ["sh", "-ec", last], env=env, capture_output=True, text=True, check=True, timeout=300
        ).stdout
    assert len(first) == 2
    _, _, told = recipe.rpartition('"Authorization: Bearer $TOKEN"\n')
    commit = git(repository, "rev-parse", "--short", "HEAD")
    assert log == re.sub(r"^[0-9a-f]{7,} plan$", f"{commit} plan", told, flags=re.MULTILINE)


def test_the_python_example_claims_a_task(hub: RunningHub, tmp_path: Path) -> None:
    page = "docs/mcp.md"
    httpx.post(f"{hub.address}/api/tasks/", headers=hub.headers, json={"title": page}).raise_for_status()
    code = written_for(hub, example("python", "claim_task", page))
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=tmp_path, capture_output=True, text=True, check=False, timeout=300
    )
    assert done.returncode == 0, done.stderr
    claimed = re.search(r"'id': '([0-9a-f-]{36})'", done.stdout)
    assert claimed is not None, done.stdout
    task = httpx.get(f"{hub.address}/api/tasks/{claimed[1]}/", headers=hub.headers).json()
    assert (task["status"], task["assignee"]) == ("inprogress", "operator")


def test_the_tour_names_the_addresses_of_this_hub() -> None:
    """A changed default port would make the examples useless without a failing test."""
    assert "http://localhost:8000" in example("sh", "/api/events/stream")
    assert "var/token" in example("sh", "claude mcp add")
