"""Django app configuration."""

from __future__ import annotations

from django.apps import AppConfig

from taskhub.lib.extensions import extend


class SandboxesConfig(AppConfig):
    name = "sandboxes"
    verbose_name = "Sandboxes"

    def ready(self) -> None:
        extend("mcp_tools", "sandboxes.mcp.SANDBOX_TOOLS")
        extend("ticket_kinds", "sandboxes.api.sse_params.SSE")
        extend("asyncapi_parts", "sandboxes.api.asyncapi.add_sse")
        extend("gauges", "sandboxes.metrics.sandbox_gauges")
