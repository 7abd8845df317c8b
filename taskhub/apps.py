"""Django app configuration."""

from __future__ import annotations

import logging

from django.apps import AppConfig
from django.contrib.admin import apps as admin_apps


class TaskHubConfig(AppConfig):
    name = "taskhub"
    verbose_name = "TaskHub"

    def ready(self) -> None:
        from taskhub import checks  # noqa: F401, PLC0415 - checks registers itself; the apps are loaded only now
        from taskhub.observability import heartbeat, job_logging  # noqa: PLC0415 - likewise
        from taskhub.observability.redaction import scrub_all_logs  # noqa: PLC0415 - likewise: it reads the settings

        scrub_all_logs()
        logging.captureWarnings(capture=True)
        job_logging.connect()
        heartbeat.connect()


class HubAdminConfig(admin_apps.AdminConfig):
    """Django's admin with our site (`taskhub/admin_site.py`)."""

    default = False  # of this module; the settings name it
    default_site = "taskhub.admin_site.HubAdminSite"
