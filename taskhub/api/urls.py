"""The API's addresses."""

from __future__ import annotations

from drf_spectacular.views import SpectacularSwaggerSplitView

from taskhub.api.admission import AdmissionAccountsView, AdmissionAccountView, AdmissionView
from taskhub.api.agents import AgentReleaseView, AgentStopExecutionsView, AgentStopView, AgentsView
from taskhub.api.announcements import AnnouncementsViewSet
from taskhub.api.artifacts import ArtifactPreviewView, ArtifactsView, ArtifactsZipView, ArtifactView
from taskhub.api.board import BoardView
from taskhub.api.cards import TaskCardsView
from taskhub.api.claims import ClaimView, TaskClaimView, TaskReleaseView
from taskhub.api.environments import EnvironmentsViewSet
from taskhub.api.events import EventStatusView, asyncapi_document
from taskhub.api.executions import (
    ExecuteView,
    ExecutionLogsView,
    ExecutionStatusView,
    ExecutionStopView,
    ExecutionsView,
    ExecutionView,
    TaskExecutionsView,
)
from taskhub.api.log_raw import RawLogView
from taskhub.api.log_search import LogSearchView
from taskhub.api.me import MeView
from taskhub.api.notes import TaskNotesView
from taskhub.api.overview import OverviewView
from taskhub.api.root import DocumentView, RootView
from taskhub.api.routes import route
from taskhub.api.streams import events_stream, execution_log_stream
from taskhub.api.task_detail import TaskWaiveView
from taskhub.api.tasks import TaskHistoryView, TaskStatusView, TaskViewSet
from taskhub.api.tickets import TicketsView
from taskhub.api.tokens import TokensView, TokenView
from taskhub.api.verifications import TaskVerifyView
from taskhub.api.webhooks import (
    WebhookDeliveriesView,
    WebhookSecretView,
    WebhookSendAgainView,
    WebhooksViewSet,
    WebhookTestView,
)

_many = TaskViewSet.as_view({"get": "list", "post": "create"})
_one = TaskViewSet.as_view({"get": "retrieve", "patch": "partial_update", "delete": "destroy"})
_announcements = AnnouncementsViewSet.as_view({"get": "list", "post": "create"})
_announcement = AnnouncementsViewSet.as_view({"delete": "destroy"})
_environments = EnvironmentsViewSet.as_view({"get": "list", "post": "create"})
_environment = EnvironmentsViewSet.as_view({"get": "retrieve", "patch": "partial_update", "delete": "destroy"})
_webhooks = WebhooksViewSet.as_view({"get": "list", "post": "create"})
_webhook = WebhooksViewSet.as_view({"get": "retrieve", "patch": "partial_update", "delete": "destroy"})

urlpatterns = [
    route("", RootView.as_view(), "api-root"),
    route("tasks", _many, "tasks"),
    route("tasks/board", BoardView.as_view(), "task-board"),
    route("tasks/cards", TaskCardsView.as_view(), "task-cards"),
    route("tasks/claim", ClaimView.as_view(), "task-claim"),
    route("tasks/{task_id}", _one, "task"),
    route("tasks/{task_id}/claim", TaskClaimView.as_view(), "task-claim-one"),
    route("tasks/{task_id}/notes", TaskNotesView.as_view(), "task-notes"),
    route("tasks/{task_id}/waive", TaskWaiveView.as_view(), "task-waive"),
    route("tasks/{task_id}/verify", TaskVerifyView.as_view(), "task-verify"),
    route("tasks/{task_id}/release", TaskReleaseView.as_view(), "task-release"),
    route("tasks/{task_id}/history", TaskHistoryView.as_view(), "task-history"),
    route("tasks/{task_id}/executions", TaskExecutionsView.as_view(), "task-executions"),
    route("tasks/status/{task_id}", TaskStatusView.as_view(), "task-status"),
    route("events/stream", events_stream, "events-stream"),
    route("events/status", EventStatusView.as_view(), "events-status"),
    route("executions", ExecutionsView.as_view(), "executions"),
    route("executions/{execution_id}", ExecutionView.as_view(), "execution"),
    route("exec/{task_id}", ExecuteView.as_view(), "exec"),
    route("exec/status/{task_id}", ExecutionStatusView.as_view(), "exec-status"),
    route("exec/logs/{task_id}", ExecutionLogsView.as_view(), "exec-logs"),
    route("exec/logs/{task_id}/raw", RawLogView.as_view(), "exec-log-raw"),
    route("exec/logs/{task_id}/search", LogSearchView.as_view(), "exec-log-search"),
    route("exec/logs/{task_id}/stream", execution_log_stream, "exec-log-stream"),
    route("exec/artifacts/{task_id}", ArtifactsView.as_view(), "exec-artifacts"),
    route("exec/artifacts/{task_id}/zip", ArtifactsZipView.as_view(), "exec-artifacts-zip"),
    route("exec/artifacts/{task_id}/{artifact_id}", ArtifactView.as_view(), "exec-artifact"),
    route("exec/artifacts/{task_id}/{artifact_id}/preview", ArtifactPreviewView.as_view(), "exec-artifact-preview"),
    route("exec/stop/{task_id}", ExecutionStopView.as_view(), "exec-stop"),
    route("admission", AdmissionView.as_view(), "admission"),
    route("admission/accounts", AdmissionAccountsView.as_view(), "admission-accounts"),
    route("admission/accounts/{account}", AdmissionAccountView.as_view(), "admission-account"),
    route("agents", AgentsView.as_view(), "agents"),
    route("agents/{agent_id}/release", AgentReleaseView.as_view(), "agent-release"),
    route("agents/{agent_id}/stop", AgentStopView.as_view(), "agent-stop"),
    route("agents/{agent_id}/stop-executions", AgentStopExecutionsView.as_view(), "agent-stop-executions"),
    route("environments", _environments, "environments"),
    route("environments/{environment}", _environment, "environment"),
    route("announcements", _announcements, "announcements"),
    route("announcements/{announcement_id}", _announcement, "announcement"),
    route("webhooks", _webhooks, "webhooks"),
    route("webhooks/{webhook_id}", _webhook, "webhook"),
    route("webhooks/{webhook_id}/secret", WebhookSecretView.as_view(), "webhook-secret"),
    route("webhooks/{webhook_id}/test", WebhookTestView.as_view(), "webhook-test"),
    route("webhooks/{webhook_id}/deliveries", WebhookDeliveriesView.as_view(), "webhook-deliveries"),
    route(
        "webhooks/{webhook_id}/deliveries/{delivery_id}/send-again",
        WebhookSendAgainView.as_view(),
        "webhook-send-again",
    ),
    route("me", MeView.as_view(), "me"),
    route("overview", OverviewView.as_view(), "overview"),
    route("tokens", TokensView.as_view(), "tokens"),
    route("tokens/{token_id}", TokenView.as_view(), "token"),
    route("tickets", TicketsView.as_view(), "tickets"),
    route(r"asyncapi\.json", asyncapi_document, "asyncapi"),
    route("schema", DocumentView.as_view(), "schema"),
    route("docs", SpectacularSwaggerSplitView.as_view(url_name="schema"), "docs"),
]
