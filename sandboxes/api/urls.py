"""The addresses of sandboxes, below `/api/`."""

from __future__ import annotations

from sandboxes.api import build_log, facts, files, sandboxes, secrets, subscriptions
from sandboxes.api.daytona_webhooks import daytona_webhook
from taskhub.api.routes import route

_SANDBOX = "sandboxes/{sandbox_id}"
_SESSION = f"{_SANDBOX}/sessions/{{session_id}}"
_COMMAND = f"{_SESSION}/commands/{{command_id}}"

urlpatterns = [
    route("sandboxes", sandboxes.SandboxesView.as_view(), "sandboxes"),
    route(_SANDBOX, sandboxes.SandboxView.as_view(), "sandbox"),
    route(f"{_SANDBOX}/start", sandboxes.SandboxStartView.as_view(), "sandbox-start"),
    route(f"{_SANDBOX}/stop", sandboxes.SandboxStopView.as_view(), "sandbox-stop"),
    route(f"{_SANDBOX}/build-log", build_log.BuildLogView.as_view(), "build-log"),
    route(f"{_SANDBOX}/history", facts.SandboxHistoryView.as_view(), "sandbox-history"),
    route(f"{_SANDBOX}/files", files.SandboxFilesView.as_view(), "sandbox-files"),
    route(f"{_SANDBOX}/files/content", files.SandboxFileView.as_view(), "sandbox-file"),
    route(f"{_SANDBOX}/sessions", sandboxes.SessionsView.as_view(), "sessions"),
    route(_SESSION, sandboxes.SessionView.as_view(), "session"),
    route(f"{_SESSION}/commands", sandboxes.CommandsView.as_view(), "commands"),
    route(_COMMAND, sandboxes.CommandView.as_view(), "command"),
    route(f"{_COMMAND}/logs", sandboxes.CommandLogsView.as_view(), "command-logs"),
    route("secrets", secrets.SecretsView.as_view(), "secrets"),
    route("secrets/{secret}", secrets.SecretView.as_view(), "secret"),
    route("subscriptions", subscriptions.SubscriptionsView.as_view(), "subscriptions"),
    route("subscriptions/{subscription_id}", subscriptions.SubscriptionView.as_view(), "subscription"),
    route("daytona/webhooks", daytona_webhook, "daytona-webhooks"),
]
