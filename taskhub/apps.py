"""The app's entry in Django."""

from __future__ import annotations

from django.apps import AppConfig


class TaskHubConfig(AppConfig):
    name = "taskhub"
    verbose_name = "TaskHub"

    def ready(self) -> None:
        from taskhub import checks  # noqa: F401, PLC0415 - registers the system checks once the apps are loaded
