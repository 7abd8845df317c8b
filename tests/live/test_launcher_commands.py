"""What `make run` prints last, and the commands about a hub that runs: stop, link, token, password, `manage.py`."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path
from urllib.parse import urlsplit

import httpx
import pytest
from live_client import HubClient

from tests.processes import ROOT, RunningHub, free_port, running_hub

OWN = {"DJANGO_SETTINGS_MODULE", "REDIS_URL", "DATABASE_URL", "DAYTONA_API_KEY", "SECRET_KEY", "TASKHUB_DATA_DIR"}


def run(*command: str, cwd: Path = ROOT, **environment: str) -> tuple[int, str, str]:
    """By a shell that knows nothing of the hub but what is given."""
    kept = {name: value for name, value in os.environ.items() if name not in OWN}
    done = subprocess.run(command, cwd=cwd, env=kept | environment, capture_output=True, text=True, check=False)
    return done.returncode, done.stdout, done.stderr


def launcher(*words: str, **environment: str) -> tuple[int, str, str]:
    return run(sys.executable, "-m", "config.launcher", *words, **environment)


def printed_link(hub: RunningHub) -> str:
    return next(match[1] for line in hub.process.output if (match := re.search(r"sign in +(\S+)$", line)))


def test_a_hub_from_its_last_words_to_its_stop(tmp_path: Path) -> None:
    """With settings from a file, and its data elsewhere than usual."""
    data_dir = tmp_path / "data"
    (tmp_path / "env").write_text(f"TASKHUB_PORT={free_port()}\nTASKHUB_EVENTS_KEEP_DAYS=3\n")
    with running_hub(data_dir, {"TASKHUB_ENV_FILE": str(tmp_path / "env")}) as hub:
        last_words_are_what_one_needs(hub)
        settings_may_be_in_a_file(hub)
        stop_waits_for_the_end(hub)


def last_words_are_what_one_needs(hub: RunningHub) -> None:
    hub.process.wait_for_line("ends everything")
    said = hub.process.output[hub.process.output.index(f"TaskHub is ready at {hub.address}") :]
    words = [line.split()[:2] for line in said]
    assert ["sign", "in"] in words
    assert f"  API token     {hub.data_dir / 'token'}" in said
    assert f"  data          {hub.data_dir}" in said
    # As root, too: nothing warns of what its user has chosen. And refused requests are no warnings.
    assert httpx.get(f"{hub.address}/api/nothing", trust_env=False).status_code == 404
    refused = httpx.post(f"{hub.address}/api/tasks/", json={"title": "t"}, trust_env=False)
    assert refused.status_code == 401
    line = hub.process.wait_for_line("Unauthorized: /api/tasks/")
    assert " INFO django.request: " in line
    everything = "\n".join(hub.process.output)
    assert "superuser" not in everything
    assert "WARNING" not in everything
    # The pages name the same place.
    assert str(hub.data_dir / "token") in httpx.get(f"{hub.address}/", trust_env=False).text


def settings_may_be_in_a_file(hub: RunningHub) -> None:
    """The environment of the test names a port, which wins; the file's days hold in the processes of the hub."""
    web = Path(f"/proc/{hub.child_pid('uvicorn')}/environ").read_text().split("\0")
    assert "TASKHUB_EVENTS_KEEP_DAYS=3" in web
    assert f"TASKHUB_PORT={hub.port}" in web
    assert HubClient(hub).create_task()


def stop_waits_for_the_end(hub: RunningHub) -> None:
    record, named = hub.data_dir / "hub.json", ROOT / ".running" / str(hub.process.pid)
    assert record.stat().st_mode & 0o777 == 0o600
    assert named.read_text() == str(hub.data_dir)
    here = {"TASKHUB_DATA_DIR": str(hub.data_dir)}
    assert launcher("stop", **here)[:2] == (0, f"TaskHub on {hub.data_dir} has stopped.\n")
    assert hub.process.wait(60) == 0
    assert not record.exists()
    assert not named.exists()
    assert launcher("stop", **here)[:2] == (0, f"No TaskHub runs on {hub.data_dir}.\n")
    code, _, said = launcher("link", **here)
    assert (code, said) == (1, f"No TaskHub runs on {hub.data_dir}; `make run` starts one.\n")


def test_link_signs_a_browser_in_once_and_another_one_is_printed(hub: RunningHub) -> None:
    code, link, note = launcher("link", TASKHUB_DATA_DIR=str(hub.data_dir))
    assert (code, note) == (0, "It works once, within 10 minutes, from this machine.\n")
    assert link.startswith(f"{hub.address}/sign-in/?token=")
    with httpx.Client(trust_env=False, follow_redirects=True) as browser:
        page = browser.get(link.strip())
        assert (page.status_code, str(page.url)) == (200, f"{hub.address}/")
        assert browser.get(f"{hub.address}/admin/").status_code == 200
    assert httpx.get(link.strip(), trust_env=False).status_code == 400


def test_commands_use_the_database_of_the_hub_that_runs(hub: RunningHub) -> None:
    here = {"TASKHUB_DATA_DIR": str(hub.data_dir)}
    # From any folder, by any Python that is called so: the system's own has no Django.
    python = shutil.which("python3", path="/usr/bin:/bin") or sys.executable
    code, token, said = run(
        *(python, str(ROOT / "manage.py"), "create_token", "robot", "--role", "agent"), cwd=Path("/"), **here
    )
    assert code == 0, said
    headers = {"Authorization": f"Bearer {token.strip()}"}
    assert httpx.get(f"{hub.address}/api/me", headers=headers, trust_env=False).json()["role"] == "agent"
    code, said, _ = run(sys.executable, "manage.py", "new_password", "robot", **here)
    password = re.fullmatch(r"Account: robot, password: (\S+) \(shown this once\)\n", said)
    assert password
    with httpx.Client(base_url=hub.address, trust_env=False) as browser:
        browser.get("/login/")
        form = {"username": "robot", "password": password[1], "csrfmiddlewaretoken": browser.cookies["csrftoken"]}
        assert browser.post("/login/", data=form).status_code == 302


def test_settings_of_the_hub_reach_a_command_and_the_environment_wins(hub: RunningHub) -> None:
    program = "from django.conf import settings as s; print(s.REDIS_URL, s.TASKHUB_ADDRESS, s.SECRET_KEY)"
    here = {"TASKHUB_DATA_DIR": str(hub.data_dir)}
    _, said, _ = run(sys.executable, "manage.py", "shell", "--no-imports", "-c", program, **here)
    redis_url, address, secret = said.split()
    assert (urlsplit(redis_url).scheme, address) == ("unix", hub.address)
    assert secret == (hub.data_dir / "secret_key").read_text()
    _, said, _ = run(
        *(sys.executable, "manage.py", "shell", "--no-imports", "-c", program), REDIS_URL="redis://other:1/0", **here
    )
    assert said.split()[0] == "redis://other:1/0"


def test_without_a_database_a_command_says_one_sentence(tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    for folder in (tmp_path / "missing", tmp_path / "empty"):
        code, _, said = run(
            *(sys.executable, "manage.py", "create_token", "x", "--role", "agent"), TASKHUB_DATA_DIR=str(folder)
        )
        assert code == 1
        assert said == (
            f"There is no database in {folder} yet. `make run` makes one; TASKHUB_DATA_DIR names another folder.\n"
        )
    away = "postgresql://u:hidden@127.0.0.1:1/none"
    # Other hubs may run on this machine: the folder is named.
    here = {"TASKHUB_DATA_DIR": str(tmp_path / "empty"), "DATABASE_URL": away}
    code, _, said = run(sys.executable, "manage.py", "create_token", "x", **here)
    assert code == 1
    assert said.startswith("The database cannot be used: ")
    assert said.count("\n") == 1
    assert "hidden" not in said


def test_setting_that_is_wrong_is_one_sentence(tmp_path: Path) -> None:
    here = {"TASKHUB_DATA_DIR": str(tmp_path), "TASKHUB_WEB_THREADS": "many"}
    code, _, said = run(sys.executable, "manage.py", "migrate", **here)
    assert (code, said) == (1, "TASKHUB_WEB_THREADS must be a whole number from 1, not 'many'.\n")


def test_help_starts_nothing(tmp_path: Path) -> None:
    """By a Python without the requirements (-S), too."""
    bare = (sys.executable, "-S", "-m", "config.launcher", "--help")
    assert run(*bare, TASKHUB_DATA_DIR=str(tmp_path / "data"))[1].startswith("usage: python -m config.launcher")
    code, said, _ = launcher("--help", TASKHUB_DATA_DIR=str(tmp_path / "data"))
    assert code == 0
    assert said.startswith("usage: python -m config.launcher")
    code, _, said = launcher("--port", "8000", TASKHUB_DATA_DIR=str(tmp_path / "data"))
    assert code == 2
    assert not (tmp_path / "data").exists()


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["token"], "Usage: make token NAME=robot ROLE=agent"),
        (["token", "NAME=robot", "ROLE=king"], "invalid choice: 'king'"),
        (["token", "NAME=no such; name", "ROLE=agent"], "Enter a valid username."),
    ],
)
def test_make_token_says_what_is_wrong(hub: RunningHub, words: list[str], said: str) -> None:
    code, _, error = run("make", *words, TASKHUB_DATA_DIR=str(hub.data_dir), NAME="of-this-machine")
    assert code != 0
    assert said in error


def test_make_makes_tokens_passwords_and_links(hub: RunningHub) -> None:
    here = {"TASKHUB_DATA_DIR": str(hub.data_dir), "NAME": "of-this-machine"}
    code, token, said = run("make", "token", "NAME=made.by+make", "ROLE=viewer", **here)
    assert code == 0, said
    headers = {"Authorization": f"Bearer {token.strip()}"}
    me = httpx.get(f"{hub.address}/api/me", headers=headers, trust_env=False).json()
    assert (me["name"], me["role"]) == ("made.by+make", "viewer")
    code, said, _ = run("make", "password", "NAME=made.by+make", **here)
    assert said.startswith("Account: made.by+make, password: ")
    assert run("make", "link", **here)[1].startswith(f"{hub.address}/sign-in/?token=")
