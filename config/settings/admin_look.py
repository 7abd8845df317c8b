"""Theme and navigation of the admin (django-unfold). The colours are in `taskhub/admin.css`."""

from __future__ import annotations

from typing import Any

from django.templatetags.static import static
from django.urls import reverse_lazy


def _rows(title: str, model: str, icon: str) -> dict[str, Any]:
    """A navigation entry for a list; `icon` is a name of Material Symbols, whose font is part of unfold."""
    return {"title": title, "icon": icon, "link": reverse_lazy(f"admin:{model}_changelist")}


UNFOLD: dict[str, Any] = {
    "SITE_TITLE": "TaskHub",
    "SITE_HEADER": "TaskHub",
    "SITE_SUBHEADER": "For operators",
    "SITE_ICON": lambda _request: static("taskhub/favicon.svg"),
    "SITE_FAVICONS": [
        {"rel": "icon", "type": "image/svg+xml", "href": lambda _request: static("taskhub/favicon.svg")},
    ],
    "STYLES": [lambda _request: static("taskhub/admin.css")],
    "DASHBOARD_CALLBACK": "taskhub.admin.dashboard.fill",
    "SHOW_BACK_BUTTON": True,
    # Django's own log of the admin; our audit covers all interfaces.
    "SHOW_HISTORY": False,
    "SIDEBAR": {
        "navigation": [
            {
                "items": [
                    {"title": "To the board", "icon": "arrow_back", "link": reverse_lazy("home")},
                    {"title": "Dashboard", "icon": "monitoring", "link": reverse_lazy("admin:index")},
                ],
            },
            {
                "title": "Work",
                "separator": True,
                "items": [
                    _rows("Tasks", "taskhub_task", "task_alt"),
                    _rows("Executions", "taskhub_execution", "terminal"),
                    _rows("Environments", "taskhub_environment", "package_2"),
                    _rows("Claims", "taskhub_claim", "back_hand"),
                    _rows("Agents", "taskhub_agent", "smart_toy"),
                    _rows("Waiting, limits, pauses", "taskhub_admissionrule", "traffic"),
                    _rows("Announcements", "taskhub_announcement", "campaign"),
                ],
            },
            {
                "title": "Sandboxes",
                "separator": True,
                "items": [
                    _rows("Sandboxes", "sandboxes_sandbox", "deployed_code"),
                    _rows("Secrets", "sandboxes_secret", "lock"),
                    _rows("Subscriptions", "sandboxes_subscription", "visibility"),
                    _rows("Polls", "sandboxes_poll", "sync"),
                ],
            },
            {
                "title": "Event stream",
                "separator": True,
                "items": [
                    _rows("Events", "django_eventstream_event", "bolt"),
                    _rows("Open streams", "taskhub_streamconnection", "cast"),
                    _rows("Processes", "taskhub_streamprocess", "dns"),
                    _rows("Webhooks", "taskhub_webhookendpoint", "webhook"),
                    _rows("Webhook deliveries", "taskhub_webhookdelivery", "send"),
                ],
            },
            {
                "title": "Access",
                "separator": True,
                "items": [
                    _rows("Audit", "taskhub_auditentry", "receipt_long"),
                    _rows("Accounts", "auth_user", "person"),
                    _rows("Roles", "auth_group", "badge"),
                    _rows("API tokens, grants", "taskhub_apitoken", "key"),
                    _rows("OAuth clients", "oauth2_provider_application", "hub"),
                ],
            },
        ],
    },
}
