"""The runner before the script: setup, in bubblewrap."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from sandboxes.execute.prepare_script import PrepareScript
from sandboxes.execute.script_runner import Folders, Run
from tests.processes import wait_until
from tests.sandboxes.bubblewrapped import TOKENS, Session, end_mark

SETUP, SCRIPT = "[TaskHub: setup]\n", "[TaskHub: script]\n"
BEGUN = f"\x1b_{TOKENS.run}S0\x1b\\\n"
WAITS = f"\x1b_{TOKENS.run}L\x1b\\\n"


def outcome(session: Session) -> tuple[str, str, str]:
    """As `Session.outcome`, with the time of the begin mark as 0."""
    out, err, left = (re.sub(r"(?<=[0-9a-f]{32}S)\d+", "0", text) for text in session.outcome())
    return out, err, left


def listed(session: Session) -> tuple[str, list[str]]:
    files, _, _ = (session.own / "artifacts").read_text().partition("\n\n")
    first, *lines = files.split("\n")
    return first, sorted(line.split(" ", 2)[2] for line in lines)


@pytest.mark.parametrize("perl", [True, False], ids=["perl", "no perl"])
def test_setup_runs_first_in_the_working_folder_with_the_scripts_variables(tmp_path: Path, perl: bool) -> None:
    setup = 'echo "$A"; pwd >&2; cat given; echo made >made; printf unfinished; printf unfinished >&2'
    env = {"A": "a'b", "launch": "x", "dir": "y", "begun": "z", "run_token": "w"}
    session = Session(tmp_path, 'echo "$dir"; cat made', perl=perl, setup=setup, env=env, given={"given": b"given\n"})
    out, err, left = outcome(session)
    assert out == f"{SETUP}a'b\ngiven\nunfinished{BEGUN}{SCRIPT}y\nmade\n" + end_mark("0 0 0 -")
    assert err == f"{session.work}\nunfinished{BEGUN}" + end_mark("0 0 0 -")
    assert left == ""


@pytest.mark.parametrize(("setup", "code"), [("echo said; exit 3", 3), ("kill -9 $$", 137), ("kill -TERM $$", 143)])
def test_script_of_a_failed_setup_does_not_run(tmp_path: Path, setup: str, code: int) -> None:
    session = Session(tmp_path, "touch ~/ran", setup=f"echo x >made; {setup}")
    out, err, _ = outcome(session)
    assert out == SETUP + ("said\n" if "said" in setup else "") + end_mark(f"{code} 0 0 setup")
    assert err == end_mark(f"{code} 0 0 setup")
    assert not (tmp_path / "ran").exists()
    assert not (session.own / "artifacts").exists()


def test_files_of_the_setup_are_the_scripts_only_if_it_changes_them(tmp_path: Path) -> None:
    session = Session(
        tmp_path,
        "echo more >>changed; echo new >new; mkdir out; echo r >out/r; sleep 2.5",
        setup="mkdir -p node_modules lib; echo 1 >lib/a; echo 2 >changed; seq 10 >node_modules/x; sleep 1.2",
        skip=("node_modules",),
    )
    outcome(session)
    assert listed(session) == ("3 3", ["changed", "new", "out/r"])
    changes = (session.own / "changes").read_text().splitlines()
    assert sorted(line.split(" ", 1)[1] for line in changes) == [
        "created 2 out/r",
        "created 4 new",
        "modified 7 changed",
    ]


def test_results_keep_the_times_that_they_had_and_are_kept_all_the_same(tmp_path: Path) -> None:
    session = Session(
        tmp_path, "mv site out", setup="mkdir site kept; echo x >site/i; mkdir -p kept; sleep 1.2; touch kept/old"
    )
    outcome(session)
    assert listed(session)[1] == ["out/i"]


def test_service_of_the_setup_lives_as_long_as_the_script(tmp_path: Path) -> None:
    setup = "setsid sleep 7531 >/dev/null 2>&1 & echo up"
    session = Session(tmp_path, "pgrep -xc sleep", setup=setup)
    out, _, left = outcome(session)
    assert out.splitlines()[-2:-1] == ["1"]
    assert left == ""


def test_only_named_files_and_results_are_kept(tmp_path: Path) -> None:
    script = "mkdir -p out dist/a; for f in out/r dist/x.whl dist/a/y.whl z.whl log.txt; do echo >$f; done"
    session = Session(tmp_path, script, keep=("dist/**/*.whl", "*.txt"))
    session.outcome()
    assert listed(session) == ("4 5", ["dist/a/y.whl", "dist/x.whl", "log.txt", "out/r"])
    (tmp_path / "b").mkdir()
    session = Session(tmp_path / "b", script, keep=())
    session.outcome()
    assert listed(session) == ("1 5", ["out/r"])


def test_script_waits_until_the_network_is_closed(tmp_path: Path) -> None:
    session = Session(tmp_path, "cat ~/closed", setup="echo forged >~/.taskhub/taskhub-x/go", locks=True)
    stdin = session.popen.stdin
    assert stdin is not None
    stdin.write(f". {tmp_path}/command\n".encode())
    stdin.flush()
    wait_until((session.own / "seen").exists, "the runner has begun")
    wait_until((session.own / "go").exists, "the setup has run")
    (tmp_path / "closed").write_text("closed\n")
    for path, content in Run.go(Folders("taskhub-x"), TOKENS).items():
        (tmp_path / path).write_bytes(content)
    stdin.close()
    session.popen.stdin = None
    out, _ = session.popen.communicate(timeout=60)
    text = re.sub(r"(?<=[0-9a-f]{32}S)\d+", "0", out.decode())
    assert text == f"{SETUP}{WAITS}{BEGUN}{SCRIPT}closed\n" + end_mark("0 0 0 -")


PREPARE = "[TaskHub: prepare]\n"


@pytest.mark.parametrize("perl", [True, False], ids=["perl", "no perl"])
def test_prepare_runs_first_in_home_with_the_environments_variables_alone(tmp_path: Path, perl: bool) -> None:
    script = 'echo "$A-$B-${SECRET-none}"; pwd; cat "$0" >/dev/null; echo made >made'
    prepare = PrepareScript(script, {"A": "a'b", "folder": "x", "mark": "y"}, ["SECRET"])
    home = tmp_path / "home"
    session = Session(home, "cat ~/made", perl=perl, prepare=prepare, setup="echo set up", env={"A": "no", "B": "no"})
    out, _, left = outcome(session)
    assert out == f"{PREPARE}a'b--none\n{home}\n{SETUP}set up\n{BEGUN}{SCRIPT}made\n" + end_mark("0 0 0 -")
    assert left == ""
    assert (home / ".taskhub" / "prepared").read_text() == f"{prepare.mark}\n"
    assert not list((home / ".taskhub").glob("**/prepare.env"))


def test_in_a_prepared_sandbox_prepare_does_not_run_again(tmp_path: Path) -> None:
    prepare = PrepareScript("echo x >>~/count", {"A": "1"})
    home = tmp_path / "home"
    (home / ".taskhub").mkdir(parents=True)
    (home / ".taskhub" / "prepared").write_text(f"another\n{prepare.mark}\n")
    out, _, _ = outcome(Session(home, "echo ran", prepare=prepare))
    assert out == f"{BEGUN}{SCRIPT}ran\n" + end_mark("0 0 0 -")
    assert not (home / "count").exists()
    assert not list(home.glob(".taskhub/**/prepare.env"))
    # Another script, or another value, is another prepare.
    marks = {PrepareScript(*each).mark for each in [("a", {}), ("b", {}), ("a", {"A": "1"}), ("a", {"A": "2"})]}
    assert len(marks) == 4


def test_script_of_a_failed_prepare_does_not_run(tmp_path: Path) -> None:
    home = tmp_path / "home"
    session = Session(home, "touch ~/ran", prepare=PrepareScript("echo said; exit 3", {}), setup="touch ~/ran")
    out, err, _ = outcome(session)
    assert (out, err) == (f"{PREPARE}said\n" + end_mark("3 0 0 prepare"), end_mark("3 0 0 prepare"))
    assert not (home / "ran").exists()
    assert not (home / ".taskhub" / "prepared").exists()
