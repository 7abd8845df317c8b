"""The admin's pages about the sandbox service: what was seen of sandboxes, and entries of the vault."""

from __future__ import annotations

from sandboxes.admin import sandboxes, vault

__all__ = ["sandboxes", "vault"]
