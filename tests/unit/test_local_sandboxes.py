"""The local sandbox server's promises to sandboxes that an earlier server, or a snapshot, made."""

from __future__ import annotations

from pathlib import Path

import pytest

from sandboxes.local.isolation import Folders
from sandboxes.local.shells import ShellFactory


@pytest.mark.parametrize("once", [False, True])
async def test_no_shell_has_a_network_in_a_sandbox_that_was_made_without(tmp_path: Path, once: bool) -> None:
    """The server was started anew, where bubblewrap is not there any more."""
    folders = Folders(tmp_path / "box", network=False)
    folders.make()
    shells = ShellFactory(hidden=[], bwrap=None)
    starting = shells.once(folders, {}, 0, cwd=folders.home, output=1) if once else shells.session(folders, {})
    try:
        with pytest.raises(PermissionError, match="bubblewrap"):
            await starting
    finally:
        shells.close()
