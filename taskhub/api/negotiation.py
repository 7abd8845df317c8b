"""Content negotiation of endpoints whose answer has one form."""

from __future__ import annotations

from typing import Any

from rest_framework.request import Request


class OneForm:
    """For API views: the answer has its one form and errors are JSON, whatever `Accept` asks for."""

    def perform_content_negotiation(self, request: Request, force: bool = False) -> Any:  # noqa: ARG002 - DRF's interface
        return super().perform_content_negotiation(request, force=True)  # type: ignore[misc]  # of the view
