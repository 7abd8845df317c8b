"""Arguments that clients in strict mode send: all that a schema names, with null for those that are not given."""

from __future__ import annotations

from typing import Any

import pytest
from django.contrib.auth.models import User
from rest_framework import serializers

from taskhub.mcp.arguments import given_only
from taskhub.mcp.tools import TOOLS, Tool
from taskhub.models import Execution, Task
from tests.agents.calls import error, listed_tools, requester_for, result

pytestmark = [pytest.mark.django_db, pytest.mark.sqlite_suffices]

ID = "0f0f0f0f-0f0f-4f0f-8f0f-0f0f0f0f0f0f"
OF_TYPE: dict[str, Any] = {"string": ID, "array": [], "integer": 1, "boolean": True, "object": {}}
"""A value for a required argument of each type."""


def whole(schema: dict[str, Any], empty: Any) -> dict[str, Any]:
    """What a client in strict mode sends: each argument, the optional ones empty, also in objects of lists."""
    required = set(schema.get("required", ()))
    return {name: filled(each, empty) if name in required else empty for name, each in schema["properties"].items()}


def filled(schema: dict[str, Any], empty: Any) -> Any:
    if "enum" in schema:
        return schema["enum"][0]
    if schema["type"] == "array" and schema["items"]["type"] == "object":
        return [whole(schema["items"], empty)]
    return OF_TYPE[schema["type"]]


def validated(tool: Tool, arguments: dict[str, Any]) -> Any:
    body = tool.takes(data=given_only(tool.takes(), arguments))
    body.is_valid(raise_exception=True)
    return body.validated_data


def least(schema: dict[str, Any]) -> dict[str, Any]:
    """The required arguments alone."""
    empty: dict[str, Any] = whole(schema, None)
    required = schema.get("required", ())
    for name in required:
        if isinstance(empty[name], list):
            empty[name] = [{key: value for key, value in each.items() if value is not None} for each in empty[name]]
    return {name: empty[name] for name in required}


@pytest.mark.parametrize("name", list(TOOLS))
def test_null_means_not_given_for_every_optional_argument(name: str) -> None:
    tool = TOOLS[name]
    assert validated(tool, whole(tool.input_schema, None)) == validated(tool, least(tool.input_schema))


@pytest.mark.parametrize("name", list(TOOLS))
def test_an_empty_text_means_not_given_where_blank_is_no_value(name: str) -> None:
    tool = TOOLS[name]
    fields = tool.takes().fields
    said = {key for key, field in fields.items() if getattr(field, "allow_blank", False) or "" in _choices(field)}
    arguments = whole(tool.input_schema, "")
    blank = {key: arguments.pop(key) for key in said & arguments.keys()}
    if name == "create_tasks":
        (task,) = arguments["tasks"]
        assert [task.pop(key) for key in ("description", "assignee")] == ["", ""]  # values of a new task
    assert validated(tool, arguments) == validated(tool, least(tool.input_schema))
    # Those that blank is a value of keep it.
    for key in blank:
        assert given_only(tool.takes(), {key: ""}) == {key: ""}


def _choices(field: serializers.Field[Any, Any, Any, Any]) -> Any:
    return getattr(field, "choices", ())


@pytest.mark.parametrize("name", list(TOOLS))
@pytest.mark.parametrize("empty", [None, ""])
def test_a_required_argument_that_is_empty_is_an_error(name: str, empty: Any, alice: User) -> None:
    required = TOOLS[name].input_schema.get("required", ())
    for key in required:
        failure = error(alice, name, **{**least(TOOLS[name].input_schema), key: empty})
        assert failure["code"] == "invalid"
        assert key in failure["details"]


def test_blank_still_empties_a_text_and_unassigns(alice: User) -> None:
    task = Task.objects.create(title="t", description="d", assignee="bob", tags=["x"])
    nothing = dict.fromkeys(("title", "tags", "artifacts", "private", "blocked_by", "expected_version"))
    result(alice, "update_task", task_id=str(task.pk), description="", assignee="", priority="high", **nothing)
    task.refresh_from_db()
    assert (task.title, task.description, task.assignee, task.tags) == ("t", "", "", ["x"])
    assert task.priority == "high"


def test_a_client_in_strict_mode_works_a_task_through(alice: User) -> None:
    task = Task.objects.create(title="t", priority="high")
    nothing = {name: whole(TOOLS[name].input_schema, None) for name in TOOLS}
    assert [each["id"] for each in result(alice, "list_tasks", **nothing["list_tasks"])["tasks"]] == [str(task.pk)]
    assert result(alice, "claim_task", **nothing["claim_task"])["task"]["id"] == str(task.pk)
    asked = {"task_id": str(task.pk), "script_content": "true"}
    env = [{"name": "A", "value": "1", "secret": None}, {"name": "KEY", "value": "long enough", "secret": True}]
    result(alice, "execute_task", **{**nothing["execute_task"], **asked, "env": env})
    execution = Execution.objects.get(task=task)
    assert (execution.env, execution.secrets()) == ({"A": "1"}, {"KEY": "long enough"})
    assert result(alice, "get_execution", **{**nothing["get_execution"], "task_id": str(task.pk)})["log"] == ""


@pytest.mark.parametrize(
    ("env", "told"),
    [
        ([{"name": "A", "value": "1"}, {"name": "A", "value": "2"}], "twice"),
        ([{"name": "1A", "value": "1"}], "shell"),
        ([{"name": "A"}], "required"),
        ([{"name": "A", "value": "short", "secret": True, "more": 1}], "Unknown"),
        ([{"name": "A", "value": "x", "secret": True}], "masked"),
        (["A=1"], "dictionary"),
    ],
)
def test_a_wrong_environment_is_refused(alice: User, env: Any, told: str) -> None:
    task = Task.objects.create(title="t")
    failure = error(alice, "execute_task", task_id=str(task.pk), script_content="true", env=env)
    assert failure["code"] == "invalid"
    assert told in str(failure["details"]["env"])
    assert not Execution.objects.exists()


@pytest.mark.parametrize("name", list(TOOLS))
def test_unknown_arguments_are_refused_although_the_schema_does_not_say_so(name: str, alice: User) -> None:
    failure = error(alice, name, **least(TOOLS[name].input_schema), nmae="x")
    assert "nmae" in failure["details"]


def objects(schema: Any) -> list[dict[str, Any]]:
    """Every object in the schema."""
    if isinstance(schema, list):
        return [found for each in schema for found in objects(each)]
    if not isinstance(schema, dict):
        return []
    own = [schema] if "object" in str(schema.get("type")) else []
    return own + [found for each in schema.values() for found in objects(each)]


def test_schemas_can_be_converted_by_clients() -> None:
    """The rules of openai-agents' strict mode and google-genai's conversion: objects name what they hold, an optional
    argument may be null, and nothing but types, items, properties, choices and words is in a schema."""
    for tool in listed_tools(requester_for(None)).tools:
        assert tool.title
        for schema in objects(tool.input_schema):
            assert "additionalProperties" not in schema
            assert schema["properties"] or schema is tool.input_schema
            for name, each in schema["properties"].items():
                choices = each.get("anyOf", [each])
                assert choices[-1]["type"] == ("null" if "anyOf" in each else each["type"])
                assert all(choices[0].get("enum", ["x"])), "an empty choice is none to Gemini"
                takes_null = "anyOf" in each or each["type"][1:] == ["null"]
                assert takes_null is (name not in schema.get("required", ()))
                assert not (takes_null and "enum" in each)
