"""Django app configuration."""

from __future__ import annotations

import logging

from django.apps import AppConfig
from django.contrib.admin import apps as admin_apps
from django.db.models.signals import post_migrate

from taskhub.lib.extensions import extend


class TaskHubConfig(AppConfig):
    name = "taskhub"
    verbose_name = "TaskHub"

    def ready(self) -> None:
        from taskhub import checks  # noqa: F401, PLC0415 - checks registers itself; the apps are loaded only now
        from taskhub.auth import account_names, browser_sessions  # noqa: PLC0415 - likewise
        from taskhub.lib import database_limits  # noqa: PLC0415 - likewise
        from taskhub.models.search_index import search_index_make  # noqa: PLC0415 - likewise
        from taskhub.observability import heartbeat, job_logging  # noqa: PLC0415 - likewise
        from taskhub.observability.redaction import scrub_all_logs  # noqa: PLC0415 - likewise: it reads the settings

        extend(
            "mcp_tools",
            "taskhub.mcp.overview_tools.OVERVIEW_TOOLS",
            "taskhub.mcp.task_tools.TASK_TOOLS",
            "taskhub.mcp.execution_tools.EXECUTION_TOOLS",
            "taskhub.mcp.note_tools.NOTE_TOOLS",
            "taskhub.mcp.file_tools.FILE_TOOLS",
        )
        extend("ticket_kinds", "taskhub.events.tickets.EVENTS", "taskhub.events.tickets.EXECUTION_LOG")
        gauges = ("stream_gauges", "job_gauges", "health_gauges", "webhook_gauges")
        extend("gauges", *(f"taskhub.api.prometheus.{name}" for name in gauges))
        post_migrate.connect(search_index_make, sender=self, dispatch_uid="taskhub.models.search_index")
        scrub_all_logs()
        logging.captureWarnings(capture=True)
        job_logging.connect()
        heartbeat.connect()
        account_names.connect()
        browser_sessions.connect()
        database_limits.connect()


class HubAdminConfig(admin_apps.AdminConfig):
    """Django's admin with our site (`taskhub/admin_site.py`)."""

    default = False  # of this module; the settings name it
    default_site = "taskhub.admin_site.HubAdminSite"
