"""What becomes of scripts: exit codes, environments and outputs. All of them run at once, as a busy hub's do."""

from __future__ import annotations

from typing import Any, NamedTuple

import pytest
from live_client import HubClient

from tests.processes import RunningHub


class Script(NamedTuple):
    text: str
    exit_code: int = 0
    lines: list[str] | None = None
    env: dict[str, str] | None = None


SCRIPTS = {
    "exit": Script("exit 3; echo never", 3, []),
    "set -e": Script("set -e; false; echo never", 1, []),
    "set -u": Script("set -u; echo $never_set; echo never", 1, []),
    "exec": Script("exec false; echo never", 1, []),
    "killed": Script("kill -9 $$; echo never", 137, []),
    "terminated": Script("kill -TERM $$; echo never", 143, []),
    "missing command": Script("no-such-command", 127, []),
    "syntax error": Script("if then", 2, []),
    # The runner's own code for "my twin runs it" may be a script's as well.
    "exit 222": Script("exit 222", 222, []),
    "closed outputs": Script("exec >&- 2>&-; echo never; exit 5", 5, []),
    "env with quotes": Script(
        'printf "%s" "$GREETING"',
        lines=['it\'s "fine"', "$HOME `id` é"],
        env={"GREETING": 'it\'s "fine"\n$HOME `id` é'},
    ),
    "env dir": Script('echo "$dir"', lines=["/nowhere"], env={"dir": "/nowhere"}),
    "env PATH": Script('echo "$PATH"', lines=["/nowhere"], env={"PATH": "/nowhere"}),
    "env IFS": Script("echo fine", lines=["fine"], env={"IFS": "0123456789"}),
    "unicode and colour": Script("printf 'é 😀 \\e[31mred\\e[0m\\n'", lines=["é 😀 \x1b[31mred\x1b[0m"]),
    "no newline": Script("printf 'no end'", lines=["no end"]),
    "empty lines": Script("printf '\\n\\n'", lines=["", ""]),
    "progress": Script("printf '10%%\\r20%%\\rdone\\n'; echo next", lines=["10%\r20%\rdone", "next"]),
    "dos": Script("printf 'dos\\r\\n'; echo next", lines=["dos\r", "next"]),
    "odd breaks": Script(
        "printf 'a\\x0bb\\x0cc\\xc2\\x85d\\xe2\\x80\\xa8e\\n'; echo next", lines=["a\x0bb\x0cc\x85d\u2028e", "next"]
    ),
    "binary": Script("printf '\\xff\\xfe\\x80\\n'; echo next", lines=["\ufffd\ufffd\ufffd", "next"]),
    "stdin": Script("cat; echo eof", lines=["eof"]),
    "long unicode": Script("for i in $(seq 2000); do printf 'é😀'; done; echo", lines=["é😀" * 2000]),
    "background": Script("sleep 7200 & echo left it", lines=["left it"]),
}

COMPLAIN = {"set -u", "missing command", "syntax error"}


@pytest.fixture(scope="module")
def client(hub: RunningHub) -> HubClient:
    return HubClient(hub)


@pytest.fixture(scope="module")
def tasks(client: HubClient) -> dict[str, str]:
    """The task that runs each script."""
    started = {}
    for name, script in SCRIPTS.items():
        started[name] = client.create_task(name)
        client.execute(started[name], script.text, **({"env": script.env} if script.env else {}))
    return started


def end_of(client: HubClient, tasks: dict[str, str], name: str) -> dict[str, Any]:
    return client.wait_for_end(tasks[name], within_s=60)


@pytest.mark.parametrize("name", SCRIPTS)
def test_script_ends_with_its_own_exit_code(client: HubClient, tasks: dict[str, str], name: str) -> None:
    wanted = SCRIPTS[name].exit_code
    end = end_of(client, tasks, name)
    assert (end["execution_event"], end["exit_code"]) == ("failed" if wanted else "completed", wanted)


@pytest.mark.parametrize("name", SCRIPTS)
def test_log_holds_what_was_printed(client: HubClient, tasks: dict[str, str], name: str) -> None:
    end_of(client, tasks, name)
    assert client.log_lines(tasks[name]) == SCRIPTS[name].lines


@pytest.mark.parametrize("name", sorted(SCRIPTS.keys() - COMPLAIN))
def test_nothing_else_is_in_the_log(client: HubClient, tasks: dict[str, str], name: str) -> None:
    end_of(client, tasks, name)
    assert client.log_lines(tasks[name], "stderr") == []
