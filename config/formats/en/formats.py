"""Times as `2026-11-26 14:03:07 UTC`: they sort, and no month is read as a day."""

from __future__ import annotations

from typing import Final

DATETIME_FORMAT: Final = "Y-m-d H:i:s T"
DATE_FORMAT: Final = "Y-m-d"
