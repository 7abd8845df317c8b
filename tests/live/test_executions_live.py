"""Executions in real sandboxes: outcomes of scripts, their events, and recovery when parts of the hub die."""

from __future__ import annotations

import os
import signal
import threading
from typing import Any

from live_client import HubClient, mentioning, wait_for_new_child

from tests.processes import RunningHub, wait_until

MIB = 1024 * 1024


def steps_of(client: HubClient, task_id: str) -> list[str]:
    """The execution events of the task so far; one more event of it marks where to stop."""
    mark = client.http.patch(f"/api/tasks/{task_id}", json={"title": "the mark"}).json()["version"]
    steps: list[str] = []
    with client.events(lastEventId="tasks:0", task_id=task_id) as frames:
        for frame in frames:
            data = frame.json()["data"] if frame.data else {}
            if "execution_event" in data:
                steps.append(data["execution_event"])
            if data.get("version") == mark:
                break
    return steps


def test_exec_answers_with_a_handle(client: HubClient) -> None:
    task_id = client.create_task()
    body = client.execute(task_id, "true")
    assert body == {
        "execution_id": body["execution_id"],
        "task_id": task_id,
        "session_name": f"taskhub-{body['execution_id']}",
        "log_file": f"logs/task-{body['execution_id']}.log",
        "status": "queued",
    }
    assert client.http.get(f"/api/tasks/{task_id}").json()["status"] == "inprogress"
    client.wait_for_end(task_id)
    status = client.status(task_id)
    assert status["status"] == "completed"
    assert status["sandbox_id"]
    assert status["command_id"]
    assert status["exit_code"] == 0
    assert status["queued_at"] < status["started_at"] < status["finished_at"]


def test_failed_script_keeps_both_outputs_and_its_exit_code(client: HubClient) -> None:
    task_id, end = client.run("echo out; echo err >&2; exit 7")
    assert (end["execution_event"], end["exit_code"]) == ("failed", 7)
    assert client.log_lines(task_id) == ["out"]
    assert client.log_lines(task_id, "stderr") == ["err"]
    assert steps_of(client, task_id) == ["started", "failed"]


def test_description_holds_the_default_script(client: HubClient) -> None:
    task_id = client.create_task(
        description="Words.\n\n```bash\necho from the description\n```\n\n```bash\nexit 9\n```\n"
    )
    assert client.http.post(f"/api/exec/{task_id}", json={}).status_code == 202
    assert client.wait_for_end(task_id)["execution_event"] == "completed"
    assert client.log_lines(task_id) == ["from the description"]


def test_second_execution_at_once_is_refused_and_stop_ends_all_processes(client: HubClient) -> None:
    task_id = client.create_task()
    client.execute(task_id, "sleep 7001 & setsid sleep 7002 & sleep 7003")
    sandbox = client.wait_for_step(task_id, "started")["sandbox_id"]
    refused = client.http.post(f"/api/exec/{task_id}", json={"script_content": "true"})
    assert refused.status_code == 409
    assert refused.json()["error"]["code"] == "execution_active"
    wait_until(lambda: sleepers(sandbox) == ["7001", "7002", "7003"], "the script's processes")
    assert client.http.post(f"/api/exec/stop/{task_id}").status_code == 202
    assert client.wait_for_end(task_id)["execution_event"] == "stopped"
    assert steps_of(client, task_id) == ["started", "stopped"]
    wait_until(lambda: not sleepers(sandbox), "the end of the script's processes")


def sleepers(sandbox_id: str) -> list[str]:
    return sorted(line.split()[1] for line in mentioning(sandbox_id).values() if line.startswith("sleep "))


def test_script_that_runs_too_long_is_timed_out(client: HubClient) -> None:
    task_id, end = client.run("echo before; sleep 7100", timeout_s=1)
    assert end["execution_event"] == "timed_out"
    assert client.log_lines(task_id) == ["before"]


def test_script_that_ignores_sigterm_is_killed(client: HubClient) -> None:
    _, end = client.run("trap '' TERM; while :; do sleep 0.1; done", timeout_s=1)
    assert end["execution_event"] == "timed_out"


def test_script_of_one_mib_runs_and_a_byte_more_is_refused(client: HubClient) -> None:
    script = "echo whole\n#"
    script += "x" * (MIB - len(script))
    task_id, end = client.run(script)
    assert end["execution_event"] == "completed"
    assert client.log_lines(task_id) == ["whole"]
    refused = client.http.post(f"/api/exec/{task_id}", json={"script_content": script + "x"})
    assert refused.status_code == 413
    assert refused.json()["error"]["code"] == "script_too_large"


def test_very_long_line_is_split_and_loses_nothing(client: HubClient) -> None:
    task_id, _ = client.run("head -c 204800 /dev/zero | tr '\\0' a; echo; echo after")
    mark = " [TaskHub: the line goes on]"
    *parts, after = client.log_lines(task_id)
    assert after == "after"
    assert "".join(part.removesuffix(mark) for part in parts) == "a" * 204_800
    assert [part.endswith(mark) for part in parts] == [True, True, True, False]


def test_script_that_leaves_a_background_process_ends(client: HubClient) -> None:
    task_id, end = client.run("sleep 7200 & echo left it")
    assert end["execution_event"] == "completed"
    assert client.log_lines(task_id) == ["left it"]


def test_background_process_that_goes_on_printing_does_not_keep_the_execution(own_hub: RunningHub) -> None:
    client = HubClient(own_hub)
    task_id, end = client.run("(while :; do echo tick; sleep 0.2; done) & echo left it")
    assert end["execution_event"] == "completed"
    assert "left it" in client.log_lines(task_id)


def test_log_tail_of_a_script_that_never_pauses_answers(own_hub: RunningHub) -> None:
    client = HubClient(own_hub)
    task_id = client.create_task()
    client.execute(task_id, "while :; do echo tick; sleep 0.1; done", timeout_s=60)
    client.wait_for_step(task_id, "started")
    answer = client.http.get(f"/api/exec/logs/{task_id}?tail=5", timeout=40)
    assert answer.status_code == 200
    assert client.http.post(f"/api/exec/stop/{task_id}").status_code == 202
    assert client.wait_for_end(task_id)["execution_event"] == "stopped"


def test_many_executions_at_once_all_end(client: HubClient) -> None:
    tasks = [client.create_task(f"one of many {n}") for n in range(8)]
    ends: dict[str, Any] = {}

    def one(task_id: str) -> None:
        client.execute(task_id, f"echo {task_id}")
        ends[task_id] = client.wait_for_end(task_id)

    threads = [threading.Thread(target=one, args=(task_id,)) for task_id in tasks]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    assert {task_id: end["execution_event"] for task_id, end in ends.items()} == dict.fromkeys(tasks, "completed")
    assert [client.log_lines(task_id) for task_id in tasks] == [[task_id] for task_id in tasks]


def test_worker_killed_while_a_script_runs_loses_nothing(fragile_hub: RunningHub, fragile_client: HubClient) -> None:
    client = fragile_client
    task_id = client.create_task()
    client.execute(task_id, "echo before; sleep 3; echo after; exit 4")
    client.wait_for_step(task_id, "started")
    os.kill(fragile_hub.child_pid(" worker "), signal.SIGKILL)
    end = client.wait_for_end(task_id)
    assert (end["execution_event"], end["exit_code"]) == ("failed", 4)
    assert client.log_lines(task_id) == ["before", "after"]
    assert steps_of(client, task_id) == ["started", "failed"]


def test_sandbox_server_killed_while_a_script_runs_ends_it(fragile_hub: RunningHub, fragile_client: HubClient) -> None:
    client = fragile_client
    task_id = client.create_task()
    client.execute(task_id, "echo before; sleep 7300")
    client.wait_for_step(task_id, "started")
    pid = fragile_hub.child_pid("sandboxes.local")
    os.kill(pid, signal.SIGKILL)
    end = client.wait_for_end(task_id)
    assert end["execution_event"] in {"failed", "lost"}
    assert steps_of(client, task_id) == ["started", end["execution_event"]]
    wait_for_new_child(fragile_hub, "sandboxes.local", pid)
    assert client.run("echo works again")[1]["execution_event"] == "completed"
