"""The generated Python client's main job: create a task, list it, execute its script, follow it to the end.

python use_client.py ADDRESS TOKEN
"""

from __future__ import annotations

import sys

from taskhub_client import AuthenticatedClient
from taskhub_client.api.executions import exec_create, exec_logs_retrieve, executions_retrieve
from taskhub_client.api.tasks import tasks_create, tasks_list
from taskhub_client.models import ExecuteRequest, ExecutionQueued, ExecutionWithScript, LogTail, Task, TaskRequest
from taskhub_client.models.paginated_task_list import PaginatedTaskList


def main(address: str, token: str) -> None:
    client = AuthenticatedClient(base_url=address, token=token, timeout=90)
    task = tasks_create.sync(client=client, body=TaskRequest(title="made by the Python client"), idempotency_key="py-1")
    assert isinstance(task, Task), task
    again = tasks_create.sync(
        client=client, body=TaskRequest(title="made by the Python client"), idempotency_key="py-1"
    )
    assert isinstance(again, Task)
    assert again.id == task.id
    page = tasks_list.sync(client=client, ids=[task.id])
    assert isinstance(page, PaginatedTaskList), page
    assert [found.title for found in page.results] == ["made by the Python client"]
    assert page.next_ is None
    body = ExecuteRequest(script_content="echo from the Python client")
    queued = exec_create.sync(str(task.id), client=client, body=body)
    assert isinstance(queued, ExecutionQueued), queued
    ended = None
    while not isinstance(ended, ExecutionWithScript) or ended.timed_out:
        ended = executions_retrieve.sync(str(queued.execution_id), client=client, wait_s=50)
        assert isinstance(ended, ExecutionWithScript), ended
    assert (ended.status, ended.exit_code) == ("completed", 0), ended
    log = exec_logs_retrieve.sync(str(task.id), client=client)
    assert isinstance(log, LogTail), log
    assert [line.line for line in log.lines] == ["from the Python client"]


if __name__ == "__main__":
    main(*sys.argv[1:])
