"""Daytona, in the hub's words. The only package that speaks the Daytona SDK.

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

from sandboxes.gateway.client import Gateway, Page, load_sdk, open_gateway
from sandboxes.gateway.toolbox import Command, Sandbox, Stream, Toolbox
from sandboxes.gateway.translation import LIFECYCLE_S, REQUEST_S, Document
from sandboxes.gateway.vault import EntryPage, Vault

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
