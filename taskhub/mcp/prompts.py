"""Prompts: how an agent works on tasks, and how one hands them out."""

from __future__ import annotations

from typing import Final, NamedTuple


class Prompt(NamedTuple):
    """`text` contains a placeholder in braces for the argument, `fallback` replaces it if it is missing."""

    name: str
    title: str
    description: str
    argument: str
    about: str
    fallback: str | None
    text: str


_WORKER: Final = """\
You work on tasks of TaskHub, one at a time{tags}.

1. claim_task with wait_s 50: it answers as soon as there is a task, with its notes and the results of what it waited \
for. If task is null, nothing was to be done: call it again, or stop if you were told to. Keep lease.token and pass it \
as `lease` with each call that changes the task. If other agents use your token, pass a name of your own as `as` with \
every call. You hold the task for 15 minutes from your last call about it, and for as long as it is being executed.
2. Read the description. Where a script is to run, call execute_task with wait_s 50; results belong in the folder \
out/, and `files` gives the script what another execution left. Where it answers timed_out, or a status of queued, \
starting or running, call get_execution with wait_s 50, and the `after` of the answer before, until the status is \
completed, failed, stopped, timed_out or lost; read the log. If you need a decision, add_note of kind question, with a \
deadline and what you assume after it where you can; then get_task with wait_s 50 and the question's id as `note`, \
until its notes have the answer. Never ask again in a loop without wait_s.
3. If it failed, find out why from the log, correct the script and execute it again; after three failures \
set_task_status to todo with what you found as `note`.
4. When it is done, set_task_status to review, with your result as `note` and what you made as artifacts (paths or \
URLs).
5. Go on with 1.

Change only tasks that you hold. After lease_lost leave the task alone. An error says in its `next` what to do; \
follow it, and do not repeat a refused call unchanged.
"""

_ORCHESTRATOR: Final = """\
You coordinate agents over TaskHub. The goal: {goal}

1. get_overview and list_tasks with status todo and inprogress, so that nothing is made twice.
2. Split what is missing into tasks that an agent can finish by itself. create_tasks them in one call with a \
request_id, each with a title, a description that says what is to be made and how one sees that it is right, a \
priority, and tags that tell workers apart; a ref where another one of them waits for it in blocked_by. Put the \
script, where there is one, into a ```bash block.
3. Leave them without an assignee: workers take them with claim_task, each exactly one.
4. Follow them: subscribe to taskhub://tasks/<id> where your client can, otherwise list_tasks with wait_s 50 and a \
filter for what you wait for (status review, or waiting_for any): it answers when a task enters or leaves the list. \
getSSEConnectionUrl opens a live view of a sandbox for people.
5. Look at tasks in review: get_execution, and read_file what it left. set_task_status to done; or to todo with \
what is missing as `note`: the agent that did it gets it first. Answer the questions that you can (list_tasks with \
waiting_for answer, add_note of kind answer).
6. When all are done, say what was made, with the artifacts.

Never work on the tasks yourself. Tell people what is stuck: what get_overview has as stale, or waiting for a person.
"""

PROMPTS: Final = {
    prompt.name: prompt
    for prompt in (
        Prompt(
            "work_on_tasks",
            "Work on tasks",
            "Claim tasks one after another, do them, hand them on for review.",
            "tags",
            "Only tasks with all of these tags, separated by commas.",
            "",
            _WORKER,
        ),
        Prompt(
            "coordinate_tasks",
            "Coordinate agents",
            "Split a goal into tasks, let workers claim them, review what they made.",
            "goal",
            "What is to be reached.",
            None,
            _ORCHESTRATOR,
        ),
    )
}


def prompt_text(prompt: Prompt, arguments: dict[str, str]) -> str | None:
    """The prompt's text; None if the argument is missing."""
    value = arguments.get(prompt.argument, "").strip() or prompt.fallback
    if value is None:
        return None
    if prompt.name == "work_on_tasks" and value:
        value = f"; only those with the tags {value}, which claim_task takes as `tags`"
    # Not format(): the value may contain braces.
    return prompt.text.replace(f"{{{prompt.argument}}}", value)
