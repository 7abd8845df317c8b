"""The API's addresses."""

from __future__ import annotations

from drf_spectacular.views import SpectacularAPIView, SpectacularSwaggerView

from taskhub.api.events import EventStatusView, asyncapi_document
from taskhub.api.executions import ExecuteView, ExecutionLogsView, ExecutionStatusView, ExecutionStopView
from taskhub.api.routes import route
from taskhub.api.streams import events_stream, execution_log_stream
from taskhub.api.tasks import TaskHistoryView, TaskStatusView, TaskViewSet

_many = TaskViewSet.as_view({"get": "list", "post": "create"})
_one = TaskViewSet.as_view({"get": "retrieve", "patch": "partial_update", "delete": "destroy"})

urlpatterns = [
    route("tasks", _many, "tasks"),
    route("tasks/{task_id}", _one, "task"),
    route("tasks/{task_id}/history", TaskHistoryView.as_view(), "task-history"),
    route("tasks/status/{task_id}", TaskStatusView.as_view(), "task-status"),
    route("events/stream", events_stream, "events-stream"),
    route("events/status", EventStatusView.as_view(), "events-status"),
    route("exec/{task_id}", ExecuteView.as_view(), "exec"),
    route("exec/status/{task_id}", ExecutionStatusView.as_view(), "exec-status"),
    route("exec/logs/{task_id}", ExecutionLogsView.as_view(), "exec-logs"),
    route("exec/logs/{task_id}/stream", execution_log_stream, "exec-log-stream"),
    route("exec/stop/{task_id}", ExecutionStopView.as_view(), "exec-stop"),
    route(r"asyncapi\.json", asyncapi_document, "asyncapi"),
    route("schema", SpectacularAPIView.as_view(), "schema"),
    route("docs", SpectacularSwaggerView.as_view(url_name="schema"), "docs"),
]
