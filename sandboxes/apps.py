"""Django app configuration."""

from __future__ import annotations

from django.apps import AppConfig


class SandboxesConfig(AppConfig):
    name = "sandboxes"
    verbose_name = "Sandboxes"

    def ready(self) -> None:
        from sandboxes import metrics  # noqa: PLC0415 - the hub's modules load once the apps are ready
        from sandboxes.api import sse_ticket  # noqa: PLC0415 - likewise

        metrics.register()
        sse_ticket.register()
