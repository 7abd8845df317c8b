"""What is checked out before a script, and the credential that the repository's server asks for."""

from __future__ import annotations

from dataclasses import dataclass, field


@dataclass(frozen=True, slots=True)
class Credential:
    """What a server of repositories wants to see. No other host than these (`name` or `name:port`) is given it."""

    username: str
    token: str = field(repr=False)
    hosts: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Checkout:
    """What is in the working folder, or in its folder `path`, before setup and script.

    `ref`: a branch, a tag, a commit, or "" for what the server says. `depth`: commits of the history; 0: all.
    `changes`: by their names, the change sets (CHANGE_SETS) that are applied to it, of a run that is verified.
    """

    url: str
    ref: str = ""
    path: str = ""
    depth: int = 1
    credential: Credential | None = None
    changes: dict[str, bytes] = field(default_factory=dict, repr=False)
