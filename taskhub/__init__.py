"""The hub: tasks, their executions, and the event stream. It knows nothing of Daytona."""

from typing import Final

__version__: Final = "0.2.0"
"""Of the release; the only place. `pyproject.toml`, the API documents and the MCP server read it."""
