"""The local sandbox server's promises to sandboxes that an earlier server, or a snapshot, made."""

from __future__ import annotations

import stat
from pathlib import Path

import pytest

from sandboxes.local.isolation import Folders
from sandboxes.local.options import Options
from sandboxes.local.rows import SandboxRow
from sandboxes.local.sandboxes import Registry
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


def registry(data: Path) -> Registry:
    return Registry(Options(data_dir=data, key="k" * 16, transition_s=0.0), ShellFactory(hidden=[], bwrap=None))


def stored(data: Path, state: str) -> SandboxRow:
    """A sandbox made from a snapshot, as the server before this one left it."""
    row = SandboxRow.create({"snapshot": "tools"}, minute_s=60.0)
    row.state = state
    folders = Folders(data / row.id)
    folders.make()
    row.save(folders.row)
    return row


async def test_a_snapshot_that_was_not_copied_whole_makes_no_sandbox(tmp_path: Path) -> None:
    half, whole = stored(tmp_path, "creating"), stored(tmp_path, "started")
    loaded = registry(tmp_path)
    await loaded.load()
    assert [row.id for row in loaded.rows()] == [whole.id]
    assert not (tmp_path / half.id).exists()


async def test_a_snapshot_that_is_read_only_makes_a_home_that_can_be_written_to(tmp_path: Path) -> None:
    snapshot = tmp_path / "snapshots" / "tools"
    snapshot.mkdir(parents=True)
    (snapshot / "hello").write_text("from the snapshot")
    snapshot.chmod(0o555)
    made = registry(tmp_path)
    row = await made.create({"snapshot": "tools"})
    await made.settled(made.get(row.id), 10)
    home = made.get(row.id).folders.home
    assert (made.get(row.id).row.state, (home / "hello").read_text()) == ("started", "from the snapshot")
    assert stat.S_IMODE(home.stat().st_mode) == 0o700
    await made.close()
