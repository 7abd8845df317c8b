"""The runner's programs, in bubblewrap: what they print, what they write down, what they leave."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from tests.sandboxes.bubblewrapped import TOKENS, Session, end_mark

PARTIAL = f"\x1b_{TOKENS.run}P\x1b\\"


@pytest.fixture(params=[True, False], ids=["perl", "no perl"])
def perl(request: pytest.FixtureRequest) -> bool:
    return bool(request.param)


@pytest.fixture
def run(tmp_path: Path, perl: bool) -> Any:
    def begin(script: str, **fields: object) -> Session:
        return Session(tmp_path, script, perl=perl, **fields)

    return begin


@pytest.mark.parametrize(
    ("script", "out", "err", "words"),
    [
        ("echo out; echo err >&2; exit 7", "out\n", "err\n", "7 0 0 -"),
        ("printf 'no end'", "no end", "", "0 0 0 -"),
        ("exec >&- 2>&-; echo never; exit 5", "", "", "5 0 0 -"),
        ("kill -9 $$", "", "", "137 0 0 -"),
        ("kill $$", "", "", "143 0 0 -"),
        ("trap '' TERM; kill $$; exit 4", "", "", "4 0 0 -"),
        # A signal for the runner is not the end of the script.
        ("kill -TERM $PPID; kill -HUP $PPID; sleep 0.3; echo on; exit 3", "on\n", "", "3 0 0 -"),
        ("#!/usr/bin/env python3\nimport sys; print(sys.version_info[0])\n", "3\n", "", "0 0 0 -"),
        ("#!/bin/bash -e\nfalse; echo never\n", "", "", "1 0 0 -"),
        ("#! /bin/sh\necho $0 | tail -c 7\n", "script\n", "", "0 0 0 -"),
        ("#!/usr/bin/env -S bash -e\nfalse; echo never\n", "", "", "1 0 0 -"),
        ("#!/usr/bin/perl -w\nprint 'perl';", "perl", "", "0 0 0 -"),
        ("#!/bin/cat\nas it is\n", "#!/bin/cat\nas it is\n", "", "0 0 0 -"),
        ("#!/no/such/program\nexit 0\n", "", "", "127 0 0 interpreter"),
        ("#!/usr/bin/env no-such-program\nexit 0\n", "", "", "127 0 0 interpreter"),
        ("#!/etc\nexit 0\n", "", "", "127 0 0 interpreter"),
        ("no-such-command 2>/dev/null", "", "", "127 0 0 -"),
        ("#!\necho bash\n", "bash\n", "", "0 0 0 -"),
        ('echo "$-" "$TASKHUB_RUNNER" | tr -d "a-zA-Z"', " \n", "", "0 0 0 -"),
        ("cat; echo eof", "eof\n", "", "0 0 0 -"),
        # Ended with the script, whatever their session and environment.
        ("sleep 900 & setsid sleep 900 & (setsid sleep 900 &) & echo left", "left\n", "", "0 0 0 -"),
        ("ls /proc/self/fd | wc -l", "4\n", "", "0 0 0 -"),
    ],
)
def test_end_is_told_on_both_streams(run: Any, script: str, out: str, err: str, words: str) -> None:
    session = run(script)
    assert session.outcome() == (out + end_mark(words), err + end_mark(words), "")
    assert session.code == f"code {words.split(maxsplit=1)[0]}"


@pytest.mark.parametrize("script", ["kill -9 $$", "kill $$", "kill -9 0", "kill -SEGV $$"])
def test_bash_says_nothing_of_a_script_that_kills_itself(tmp_path: Path, perl: bool, script: str) -> None:
    """Many at once, so that it dies before its runner has done anything else."""
    sessions = []
    for number in range(12):
        (tmp_path / str(number)).mkdir()
        sessions.append(Session(tmp_path / str(number), script, perl=perl))
    for session in sessions:
        out, err, rest = session.outcome()
        assert "run.sh" not in out + err + rest
        assert (out, rest) == (err, "")
        assert out.startswith("\x1b_")


def test_variables_are_the_scripts_alone(run: Any) -> None:
    session = run('echo "$dir|$work|$note|$first"', env={"dir": "a'b", "work": "c\nd", "note": "e", "first": "f"})
    assert session.outcome()[0] == "a'b|c\nd|e|f\n" + end_mark("0 0 0 -")
    assert not list(session.own.rglob("env.sh"))


def test_end_token_is_nowhere_to_be_read(run: Any) -> None:
    session = run(
        f"grep -rlsF {TOKENS.end[:20]} ~ /proc/[0-9]*/environ /proc/[0-9]*/cmdline | grep -v /self/; echo done"
    )
    lines = session.outcome()[0].splitlines()
    # But for the line above, which the test wrote into the script itself.
    assert [line for line in lines if "script" not in line and "cmdline" not in line][:1] == ["done"]


def test_merged_output_keeps_its_order(run: Any) -> None:
    session = run("for i in {1..200}; do echo o$i; echo e$i >&2; done", merge_output=True)
    out, err, _ = session.outcome()
    assert out.splitlines()[:-1] == [f"{stream}{n}" for n in range(1, 201) for stream in "oe"]
    assert err == end_mark("0 0 0 -")


def test_killed_runner_is_told_and_its_script_is_ended(tmp_path: Path) -> None:
    """By perl, which stands above it; without perl the lock says it."""
    session = Session(tmp_path, "kill -9 $PPID; sleep 0.5; echo on >~/alive; sleep 900")
    assert session.outcome() == (end_mark("137 0 0 killed"), end_mark("137 0 0 killed"), "")
    assert not (tmp_path / "alive").exists()


def test_leftover_without_environment_is_ended(tmp_path: Path) -> None:
    script = "env -i setsid sleep 7531 & disown; echo done; until pgrep -x sleep >~/before; do :; done"
    session = Session(tmp_path, script)
    session.popen.stdin.write(f". {tmp_path}/command\npgrep -x sleep >{tmp_path}/after\n".encode())
    session.popen.communicate(timeout=60)
    assert (tmp_path / "before").read_text().split()
    assert (tmp_path / "after").read_text().split() == []


def test_unfinished_lines_are_shown(tmp_path: Path) -> None:
    session = Session(
        tmp_path,
        r"printf 'name? '; sleep 1.2; echo bob; printf '10%%\r20%%\r' >&2; sleep 1.2; printf 'é' ; sleep 1.2; echo",
    )
    out, err, _ = session.outcome()
    assert out == f"{PARTIAL}name? \nname? bob\n{PARTIAL}é\né\n" + end_mark("0 0 0 -")
    assert err == f"{PARTIAL}20%\n10%\r20%\r" + end_mark("0 0 0 -")


def test_half_a_character_is_not_shown(tmp_path: Path) -> None:
    session = Session(tmp_path, r"printf 'a\xc3'; sleep 1.2; printf '\xa9\n'")
    assert session.outcome()[0] == f"{PARTIAL}a\naé\n" + end_mark("0 0 0 -")


def test_much_output_comes_whole_and_in_order(run: Any) -> None:
    session = run("seq 50000; seq 50000 >&2")
    wanted = "".join(f"{n}\n" for n in range(1, 50001)) + end_mark("0 0 0 -")
    assert session.outcome() == (wanted, wanted, "")


def listed(session: Session) -> tuple[str, list[str]]:
    files, _, _ = (session.own / "artifacts").read_text().partition("\n\n")
    first, *lines = files.split("\n")
    return first, [line.split(" ", 2)[2] for line in lines]


def test_given_files_are_neither_changes_nor_kept_unless_changed(run: Any) -> None:
    given = {"a/b c": b"1\n", "out/kept": b"2\n", "changed": b"3\n"}
    session = run("cat 'a/b c' out/kept changed; echo more >>changed; echo new >made", given=given)
    assert session.outcome()[0].startswith("1\n2\n3\n")
    count, files = listed(session)
    assert (count.split()[0], sorted(files)) == ("2", ["changed", "made"])
    changes = (session.own / "changes").read_text().splitlines()
    assert sorted(line.split(" ", 1)[1] for line in changes) == ["created 4 made", "modified 7 changed"]


def test_a_script_that_leaves_given_files_alone_leaves_nothing(run: Any) -> None:
    session = run("true", given={"f": b"x"})
    assert session.outcome()[0] == end_mark("0 0 0 -")


def test_files_that_cannot_be_copied_are_told_and_the_script_is_not_run(tmp_path: Path) -> None:
    session = Session(tmp_path, "echo never", given={"f": b"x"}, taken="f")
    out, err, _ = session.outcome()
    assert out == end_mark("126 0 0 -")
    assert err == "TaskHub: the given files could not be copied into the working folder.\n" + end_mark("126 0 0 -")


def test_out_is_wanted_first_and_every_file_is_counted(run: Any) -> None:
    session = run(
        """
        echo result >report.md; mkdir out .git node_modules
        echo first >out/a; touch -d '2001-01-01' out/a
        for i in $(seq 150); do echo $i >node_modules/$i.js; done
        echo x >.git/x; echo x >$'a\\nb'; echo x >last
        """,
        skip=(".git", "node_modules"),
    )
    out, _, _ = session.outcome()
    assert listed(session) == ("155 3", ["report.md", "last", "out/a"])
    assert out.endswith(end_mark("0 3 155 -"))


def test_skipped_folders_are_taken_when_asked_for(run: Any) -> None:
    session = run("mkdir .git; echo x >.git/x")
    session.outcome()
    assert listed(session) == ("1 1", [".git/x"])


def test_changes_are_told_while_the_script_runs(run: Any) -> None:
    session = run("echo 1 >a; sleep 3; echo 2 >b; printf 'ab'; sleep 3; echo cd")
    out, _, _ = session.outcome()
    assert f"\x1b_{TOKENS.run}F1\x1b\\\n" in out
    assert f"\x1b_{TOKENS.run}F2\x1b\\\n" in out
