"""`make run`: everything for one machine, under one supervisor."""

from __future__ import annotations


class LaunchError(RuntimeError):
    """Cannot start, or find what was asked for; the message says why in one sentence."""
