"""Sessions and commands through the SDK, with and without bubblewrap."""

import asyncio
import warnings

import pytest
from local_server_harness import Raw, Server, daytona_client, eventually, made, processes_with

with warnings.catch_warnings():
    warnings.simplefilter("ignore")
    from daytona import (
        DaytonaBadRequestError,
        DaytonaConflictError,
        DaytonaError,
        DaytonaGoneError,
        DaytonaInternalServerError,
        DaytonaNotFoundError,
        DaytonaTimeoutError,
        SandboxState,
        SessionExecuteRequest,
    )


async def run(sandbox, command: str, session: str = "s", **options):
    return await sandbox.process.execute_session_command(session, SessionExecuteRequest(command=command, **options))


async def begin(sandbox, command: str, session: str = "s") -> str:
    return (await run(sandbox, command, session, run_async=True)).cmd_id


async def exit_code(sandbox, command_id: str, session: str = "s") -> int | None:
    return (await sandbox.process.get_session_command(session, command_id)).exit_code


async def ended(sandbox, command_id: str, session: str = "s") -> int:
    async def has_ended() -> bool:
        return await exit_code(sandbox, command_id, session) is not None

    await eventually(has_ended)
    return await exit_code(sandbox, command_id, session)


async def refused(sandbox, command: str) -> str:
    """Why the session took no more; empty if it did."""
    try:
        await begin(sandbox, command)
    except DaytonaInternalServerError as error:
        return str(error)
    return ""


async def test_a_session_is_one_shell(any_sandbox):
    process = any_sandbox.process
    await process.create_session("s")
    assert (await run(any_sandbox, "mkdir -p d && cd d && export X=1 && y=2")).exit_code == 0
    result = await run(any_sandbox, 'echo "$PWD $X $y"; echo oops >&2; (exit 3)')
    assert (result.stdout, result.stderr, result.exit_code) == (
        f"{await any_sandbox.get_work_dir()}/d 1 2\n",
        "oops\n",
        3,
    )
    assert sorted(result.output.splitlines()) == sorted(["\1\1\1" + result.stdout.strip(), "\2\2\2oops"])
    session = await process.get_session("s")
    assert {each.command: each.exit_code for each in session.commands} == {
        "mkdir -p d && cd d && export X=1 && y=2": 0,
        'echo "$PWD $X $y"; echo oops >&2; (exit 3)': 3,
    }
    assert [each.session_id for each in await process.list_sessions()] == ["s"]


@pytest.mark.parametrize(
    ("command", "code"),
    [
        ("return 4", 4),
        ("echo 'unbalanced", 1),
        ("cat <<X\nhere\nX", 0),
        ("no-such-command", 127),
        ("kill -9 $BASHPID", None),
        ("(exit 300)", 44),
    ],
)
async def test_any_text_is_a_command(any_sandbox, command, code):
    await any_sandbox.process.create_session("s")
    command_id = await begin(any_sandbox, command)
    if code is not None:
        assert await ended(any_sandbox, command_id) in (code, 2 if "unbalanced" in command else code)
        assert (await run(any_sandbox, "echo alive")).stdout == "alive\n"


async def test_a_second_command_waits_for_the_first(sandbox):
    await sandbox.process.create_session("s")
    first = await begin(sandbox, "read line; echo got $line")
    second = await begin(sandbox, "echo second")
    assert await exit_code(sandbox, second) is None
    assert (await sandbox.process.get_session_command_logs("s", second)).output == ""
    await sandbox.process.send_session_command_input("s", first, "the input")
    assert await ended(sandbox, second) == 0
    logs = await sandbox.process.get_session_command_logs("s", first)
    # Input is echoed to the log, as Daytona does.
    assert logs.stdout == "the input\ngot the input\n"


async def test_input_is_not_echoed_if_that_was_suppressed(sandbox):
    await sandbox.process.create_session("s")
    answer = await run(sandbox, "read line; echo got $line", run_async=True, suppress_input_echo=True)
    await sandbox.process.send_session_command_input("s", answer.cmd_id, "secret\n")
    assert await ended(sandbox, answer.cmd_id) == 0
    assert (await sandbox.process.get_session_command_logs("s", answer.cmd_id)).stdout == "got secret\n"
    with pytest.raises(DaytonaGoneError):
        await sandbox.process.send_session_command_input("s", answer.cmd_id, "late")


async def test_the_deprecated_name_async_is_understood(raw: Raw, sandbox):
    await sandbox.process.create_session("s")
    path = f"/toolbox/{sandbox.id}/process/session/s/exec"
    status, body, _ = await raw.call("POST", path, body={"command": "echo x", "async": True})
    assert status == 202
    assert {key: value for key, value in body.items() if key != "cmdId"} == {
        "output": None,
        "stdout": None,
        "stderr": None,
        "exitCode": None,
    }


async def test_a_command_that_ends_its_shell_never_gets_an_exit_code(any_sandbox, is_daemon):
    process = any_sandbox.process
    await process.create_session("s")
    ending = await begin(any_sandbox, "echo before; exit 5")

    async def broken() -> bool:
        return "broken pipe" in await refused(any_sandbox, "echo after")

    await eventually(broken)
    commands = {command.id: command for command in (await process.get_session("s")).commands}
    assert all(command.exit_code is None for command in commands.values())
    del commands[ending]
    # The refused command is listed too.
    assert {command.command for command in commands.values()} == {"echo after"}
    assert (await process.get_session_command_logs("s", ending)).stdout == "before\n"
    # The daemon (v0.190) answers late input with 500 instead of 410.
    with pytest.raises(DaytonaInternalServerError if is_daemon else DaytonaGoneError):
        await process.send_session_command_input("s", ending, "x")
    await process.delete_session("s")
    assert await process.list_sessions() == []


async def test_set_e_ends_the_shell(sandbox):
    await sandbox.process.create_session("s")
    command = await begin(sandbox, "set -e; false; echo not reached")

    async def dead() -> bool:
        return "broken pipe" in await refused(sandbox, "true")

    await eventually(dead)
    assert await exit_code(sandbox, command) is None


async def test_a_command_runs_until_its_output_is_closed(any_sandbox):
    """As in Daytona: a background process that inherited the output holds the exit code and the next command back."""
    await any_sandbox.process.create_session("s")
    first = await begin(any_sandbox, "mkfifo gate; (read -r _ < gate; echo late; exit 3) & echo hi")
    second = await begin(any_sandbox, "echo second")

    async def printed() -> bool:
        return (await any_sandbox.process.get_session_command_logs("s", first)).stdout == "hi\n"

    await eventually(printed)
    assert await exit_code(any_sandbox, first) is None
    assert (await any_sandbox.process.get_session_command_logs("s", second)).stdout == ""
    await any_sandbox.process.exec("echo go > gate")
    assert await ended(any_sandbox, first) == 0
    assert (await any_sandbox.process.get_session_command_logs("s", first)).stdout == "hi\nlate\n"
    assert await ended(any_sandbox, second) == 0


async def test_a_command_does_not_wait_for_processes_without_its_output(any_sandbox):
    await any_sandbox.process.create_session("s")
    assert (await run(any_sandbox, "sleep 600 >/dev/null 2>&1 & echo hi")).stdout == "hi\n"


async def test_a_command_that_is_waited_for_reads_an_empty_input(any_sandbox):
    await any_sandbox.process.create_session("s")
    assert (await run(any_sandbox, "cat; echo read")).stdout == "read\n"


async def test_commands_and_sessions_come_in_no_order(sandbox):
    """As in Daytona, where they come from a hash table. Thirty are in order by chance once in 10^32 runs."""
    names = [f"s{number:02}" for number in range(30)]
    for name in names:
        await sandbox.process.create_session(name)
    assert [session.session_id for session in await sandbox.process.list_sessions()] != names
    texts = [f"echo {number}" for number in range(30)]
    for text in texts:
        await run(sandbox, text, "s00")
    listed = [command.command for command in (await sandbox.process.get_session("s00")).commands]
    assert listed != texts
    assert sorted(listed) == sorted(texts)


@pytest.mark.parametrize(
    "lie", ["done nothing 0", "shell five", "done", "", "x" * 100_000, "done $id 99999999999999999999", "done $id -1"]
)
async def test_a_script_that_writes_to_the_shells_own_descriptor_ends_no_session(any_sandbox, lie):
    """bash keeps the descriptor of its reports open while a command runs; a script can find it."""
    await any_sandbox.process.create_session("s")
    result = await run(
        any_sandbox,
        "id=$(basename $(dirname ${BASH_SOURCE[0]})); for n in $(ls /proc/$$/fd); do"
        " if [[ $(readlink /proc/$$/fd/$n) = pipe:* && $n -gt 9 ]] && grep -q 'flags:.*1$' /proc/$$/fdinfo/$n; then"
        f' echo "{lie}" > /proc/$$/fd/$n; echo written; fi; done',
    )
    assert "written" in result.stdout
    assert (await run(any_sandbox, "echo alive")).stdout == "alive\n"
    await any_sandbox.process.delete_session("s")


async def test_session_errors(sandbox):
    process = sandbox.process
    await process.create_session("s")
    with pytest.raises(DaytonaConflictError):
        await process.create_session("s")
    for create in ("", "entrypoint"):
        with pytest.raises(DaytonaBadRequestError):
            await process.create_session(create)
    with pytest.raises(DaytonaBadRequestError):
        await process.delete_session("entrypoint")
    for call in (
        process.get_session("nope"),
        process.delete_session("nope"),
        process.get_session_command("s", "nope"),
        process.get_session_command("nope", "nope"),
        process.get_session_command_logs("s", "nope"),
        process.send_session_command_input("s", "nope", "x"),
        process.get_entrypoint_session(),
        process.get_entrypoint_logs(),
    ):
        with pytest.raises(DaytonaNotFoundError):
            await call


@pytest.mark.parametrize("name", ["a b", "ä/ö", "..", "x" * 300, ".hidden", "%41"])
async def test_any_session_name_works(sandbox, raw: Raw, name):
    await sandbox.process.create_session(name)
    assert [session.session_id for session in await sandbox.process.list_sessions()] == [name]


@pytest.mark.parametrize(
    "hold", ["sleep 600", "setsid sleep 601", "setsid bash -c 'trap \"\" TERM; sleep 602; sleep 603'"]
)
async def test_deleting_a_session_kills_everything_it_started(any_sandbox, hold, is_daemon):
    await any_sandbox.process.create_session("s")
    mark = f"MARK_{any_sandbox.id.replace('-', '')}"
    await begin(any_sandbox, f"export {mark}=1; nohup {hold} >/dev/null 2>&1 & (setsid {hold} & ) & disown -a")
    await eventually(lambda: len(processes_with(mark)) >= 2)
    await any_sandbox.process.delete_session("s")
    if is_daemon:
        # The daemon leaves what called setsid: the second one, at least, and all that it started.
        await eventually(lambda: len(processes_with(mark)) == 1 or hold != "sleep 600")
        assert processes_with(mark) != []
    else:
        assert processes_with(mark) == []


async def test_a_sync_command_ends_with_its_session(sandbox):
    await sandbox.process.create_session("s")
    waiting = asyncio.create_task(run(sandbox, "sleep 600"))

    async def listed() -> bool:
        return bool((await sandbox.process.get_session("s")).commands)

    await eventually(listed)
    await sandbox.process.delete_session("s")
    with pytest.raises(DaytonaInternalServerError):
        await waiting


async def test_a_stop_ends_everything_and_forgets_the_sessions(any_sandbox):
    await any_sandbox.process.create_session("s")
    mark = f"MARK_{any_sandbox.id.replace('-', '')}"
    await begin(any_sandbox, f"export {mark}=1; sleep 600 & setsid sleep 601 &")
    once = asyncio.create_task(any_sandbox.process.exec("sleep 604", env={mark: "2"}))
    await eventually(lambda: len(processes_with(f"{mark}=2")) >= 1)
    await any_sandbox.stop()
    assert processes_with(mark) == []
    with pytest.raises(DaytonaError):
        await once
    with pytest.raises(DaytonaBadRequestError, match=r"Is the Sandbox started\?"):
        await any_sandbox.process.list_sessions()
    await any_sandbox.start()
    assert any_sandbox.state == SandboxState.STARTED
    assert await any_sandbox.process.list_sessions() == []


async def test_files_outlive_a_stop(any_sandbox):
    await any_sandbox.process.exec("echo kept > file")
    await any_sandbox.stop()
    await any_sandbox.start()
    assert (await any_sandbox.process.exec("cat file")).result == "kept\n"


async def test_a_sandbox_with_read_only_folders_can_be_deleted(sandbox, server: Server):
    await sandbox.process.exec("mkdir -p a/b && touch a/b/c && chmod 500 a/b && chmod 500 a && ln -s /etc link")
    await sandbox.delete(wait=True)
    await eventually(lambda: not list(server.data_dir.glob(f"*{sandbox.id}")))


async def test_a_command_outside_sessions(any_sandbox, is_daemon):
    process = any_sandbox.process
    result = await process.exec("echo out; echo err >&2; exit 3")
    assert (result.exit_code, result.result) == (3, "out\nerr\n")
    await any_sandbox.fs.create_folder("d", "755")
    result = await process.exec('echo "$PWD $V"', cwd="d", env={"V": "v"})
    assert result.result == f"{await any_sandbox.get_work_dir()}/d v\n"
    with pytest.raises(DaytonaTimeoutError):
        await process.exec("sleep 605", timeout=1)
    assert processes_with("sleep\x00605") == []
    if is_daemon:
        assert (await process.exec("pwd", cwd="no-such-folder")).exit_code == -1
    else:
        with pytest.raises(DaytonaBadRequestError):
            await process.exec("pwd", cwd="no-such-folder")


async def test_a_command_outside_sessions_is_over_when_its_output_is_closed(any_sandbox):
    result = await any_sandbox.process.exec("(sleep 1; echo late) & echo hi; exit 4")
    assert (result.exit_code, result.result) == (4, "hi\nlate\n")


async def test_what_a_command_leaves_with_an_output_of_its_own_goes_on(any_sandbox):
    process = any_sandbox.process
    result = await process.exec("(sleep 1.5; echo alive >later; exec sleep 607) </dev/null >/dev/null 2>&1 & echo done")
    assert result.result == "done\n"

    async def has_gone_on() -> bool:
        return (await process.exec("cat later")).result == "alive\n"

    await eventually(has_gone_on)
    await any_sandbox.stop()
    await eventually(lambda: processes_with("sleep\x00607") == [])


async def test_a_command_outside_sessions_may_be_long_and_reads_its_own_text(any_sandbox):
    """It comes by standard input."""
    process = any_sandbox.process
    assert (await process.exec('read -r line\nof the text\necho "$line"')).result == "of the text\n"
    assert (await process.exec(f": {'x' * 300_000}\necho done")).result == "done\n"
    with pytest.raises(DaytonaBadRequestError):
        await process.exec(" \n")


async def test_the_environment_is_clean(any_sandbox):
    names = (await any_sandbox.process.exec("env | cut -d= -f1 | sort")).result.split()
    assert set(names) == {"HOME", "LANG", "PATH", "PWD", "SHLVL", "TERM", "TMPDIR", "USER", "_"}
    home = await any_sandbox.get_user_home_dir()
    result = await any_sandbox.process.exec('echo "$HOME" "$PWD" "$TMPDIR"; mktemp; ulimit -c; ls /proc/$$/fd')
    lines = result.result.splitlines()
    assert lines[0] == f"{home} {home} {home}/.tmp"
    assert lines[1].startswith(f"{home}/.tmp/")
    assert lines[2] == "0"


async def test_two_sandboxes_do_not_see_each_others_environment(any_server: Server):
    async with (
        daytona_client(any_server) as client,
        made(client, env_vars={"ONLY_A": "1"}) as first,
        made(client, env_vars={"ONLY_B": "2"}) as second,
    ):
        for sandbox, mine, other in ((first, "ONLY_A", "ONLY_B"), (second, "ONLY_B", "ONLY_A")):
            await sandbox.process.create_session("s")
            for result in (
                (await run(sandbox, "env")).stdout,
                (await sandbox.process.exec("env")).result,
            ):
                assert mine in result
                assert other not in result
            assert await sandbox.process.list_sessions() != []


async def test_bubblewrap_hides_other_sandboxes_and_the_servers_processes(any_server: Server):
    if "no bubblewrap" in any_server.ready:
        # Without it a folder's permissions are all there is; the announcement says so.
        return
    async with daytona_client(any_server) as client, made(client) as first, made(client) as second:
        await first.fs.upload_file(b"mine", "secret")
        path = f"{await first.get_work_dir()}/secret"
        assert (await first.process.exec(f"cat {path}")).result == "mine"
        assert (await second.process.exec(f"cat {path}")).exit_code == 1
        assert (await second.process.exec("touch /etc/x || touch /usr/x")).exit_code == 1
        assert (await second.process.exec(f"ls /proc/{any_server.pid}")).exit_code == 2
        listing = (await second.process.exec(f"ls -A {any_server.data_dir}")).result.split()
        assert listing == [second.id]
