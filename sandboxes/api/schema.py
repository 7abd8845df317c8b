"""`/sse` in the OpenAPI document."""

from __future__ import annotations

from typing import Any, Final

from sandboxes.api.sse_params import SSE
from taskhub.api.schema_streams import stream_path


def describe_sse(result: dict[str, Any], **_: Any) -> dict[str, Any]:
    """drf-spectacular's hook, before `finish_document`."""
    result["paths"][SSE.address] = _SSE
    return result


_SSE: Final = stream_path(
    SSE,
    "sandbox_stream",
    "sandboxes",
    "Stream a sandbox's status, its sessions, or the log of a command",
    "Server-Sent Events with the names of `eventType`: `sandbox-status` every 5 s, `sessions-update` every 10 s, or a "
    "`log` for each line and `log-complete`. The first event is `connected`, the last one `disconnected`.",
    ends=True,
)
