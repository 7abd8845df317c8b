"""Settings of the OpenAPI document (drf-spectacular)."""

from __future__ import annotations

from typing import Any

from taskhub import __version__

SPECTACULAR_SETTINGS: dict[str, Any] = {
    "TITLE": "TaskHub",
    "DESCRIPTION": "Tasks, their executions in sandboxes, and everything live over Server-Sent Events.",
    "VERSION": __version__,
    "OAS_VERSION": "3.1.1",
    "SERVE_INCLUDE_SCHEMA": False,
    "SERVE_PERMISSIONS": ["taskhub.api.permissions.RoleAllows"],
    "SWAGGER_UI_DIST": "SIDECAR",
    "SWAGGER_UI_FAVICON_HREF": "SIDECAR",
    "REDOC_DIST": "SIDECAR",
    "COMPONENT_SPLIT_REQUEST": True,
    "SCHEMA_PATH_PREFIX": "/api/",
    "ENUM_GENERATE_CHOICE_DESCRIPTION": False,
    "CONTACT": {},
    "LICENSE": {"name": "MIT", "identifier": "MIT"},
    "TAGS": [
        {"name": "tasks", "description": "Tasks: create, find, change, claim."},
        {"name": "executions", "description": "Run a task's script, follow its log, fetch what it left."},
        {"name": "events", "description": "What happens in the hub, live over Server-Sent Events."},
        {"name": "environments", "description": "What executions run in: written by operators, used by name."},
        {"name": "secrets", "description": "Entries of the sandbox service's vault, write-only, for environments."},
        {"name": "sandboxes", "description": "Sandboxes, their sessions and commands, at Daytona's side."},
        {"name": "admission", "description": "Limits and pauses of starts, and what waits."},
        {"name": "announcements", "description": "What operators tell everyone who is connected."},
        {"name": "webhooks", "description": "Events sent to other services; for operators."},
        {"name": "tickets", "description": "Addresses of streams for clients that cannot send headers."},
        {"name": "tokens", "description": "The caller's own API tokens."},
        {"name": "me", "description": "The caller's account and role."},
        {"name": "overview", "description": "What the caller holds, what waits for people, what is stale."},
        {"name": "agents", "description": "Who works here: what each agent holds and runs, and how to end it."},
        {"name": "subscriptions", "description": "Open streams of sandboxes."},
        {"name": "api", "description": "The list of the endpoints."},
    ],
    "POSTPROCESSING_HOOKS": [
        "drf_spectacular.hooks.postprocess_schema_enums",
        "sandboxes.api.schema.describe_sse",
        "taskhub.api.schema.finish_document",
    ],
    "ENUM_NAME_OVERRIDES": {
        "TaskStatusEnum": "taskhub.models.task.TaskStatus",
        "TaskPriorityEnum": "taskhub.models.task.TaskPriority",
        "ExecutionStatusEnum": "taskhub.models.execution.ExecutionStatus",
        "ExecutionKindEnum": "taskhub.models.evidence.ExecutionKind",
        "NoteKindEnum": "taskhub.models.note.NoteKind",
        "VerdictEnum": ["passed", "failed", "unavailable"],
        "VerifyPolicyEnum": ["off", "warn", "required"],
        "DeliveryStatusEnum": "taskhub.models.webhook.DeliveryStatus",
    },
}
