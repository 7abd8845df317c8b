"""Daytona, in the hub's words. The only package that speaks the Daytona SDK.

    values.py       documents, pages, time limits; needs no SDK
    loading.py      when the SDK is loaded; `open_gateway`
    client.py       Gateway: sandboxes as Daytona's API knows them; how one is opened
    vault.py        Vault: entries for secrets
    snapshots.py    snapshots: an inactive one is made active
    volumes.py      Volumes: found by name, waited for
    toolbox.py      Toolbox and Sandbox: the sessions, commands, logs and files of one sandbox
    translation.py  the SDK's errors as ours

Every call carries a time limit (the SDK has none of its own), and every error leaves as one of ours (see
`sandboxes.errors`). Calls of Daytona's own API pass the breaker. The SDK's socket.io connection, which it would open by
itself, is off.

What is shown to viewers is read as Daytona's JSON itself (a `Document`): its own field names, and also those that the
SDK's models do not know yet.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any, Final

from sandboxes.gateway.loading import load_sdk, open_gateway
from sandboxes.gateway.values import LIFECYCLE_S, REQUEST_S, Document, EntryPage, Page, Stream

if TYPE_CHECKING:
    # They load the SDK: other modules, too, import them for their types alone.
    from sandboxes.gateway.client import Gateway
    from sandboxes.gateway.toolbox import Command, Sandbox, Toolbox
    from sandboxes.gateway.vault import Vault

_WITH_SDK: Final = {
    "Gateway": "client",
    "Command": "toolbox",
    "Sandbox": "toolbox",
    "Toolbox": "toolbox",
    "Vault": "vault",
}


def __getattr__(name: str) -> Any:
    if name not in _WITH_SDK:
        raise AttributeError(name)
    return getattr(import_module(f"{__name__}.{_WITH_SDK[name]}"), name)


__all__ = [
    "LIFECYCLE_S",
    "REQUEST_S",
    "Command",
    "Document",
    "EntryPage",
    "Gateway",
    "Page",
    "Sandbox",
    "Stream",
    "Toolbox",
    "Vault",
    "load_sdk",
    "open_gateway",
]
