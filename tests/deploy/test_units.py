"""The systemd units: systemd takes them, and what they start runs and ends as they say."""

from __future__ import annotations

import os
import shutil
import subprocess
from pathlib import Path

import psycopg
import pytest

from tests.deploy.deployment import Deployment
from tests.deploy.shipped import DEPLOY, UNITS, moved, places, read_env_file, unit_command, unit_lines
from tests.processes import wait_until

SERVICES = ["taskhub-web@.service", "taskhub-worker.service", "taskhub-beat.service"]


def analyze(*arguments: str | Path) -> str:
    """What systemd-analyze says; it must be content."""
    if shutil.which("systemd-analyze") is None:
        pytest.skip("systemd-analyze is not installed")
    command = ["systemd-analyze", *map(str, arguments)]
    done = subprocess.run(command, check=False, capture_output=True, text=True, timeout=60)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout + done.stderr


def test_systemd_has_nothing_to_say_against_the_units(tmp_path: Path) -> None:
    for path in UNITS.iterdir():
        # It insists that what is started is there.
        (tmp_path / path.name).write_text(moved(path.read_text(), places(tmp_path)))
    units = [tmp_path / name for name in (*SERVICES, "taskhub.target")]
    said = analyze("verify", "--man=no", *units)
    # About units of this machine it may.
    assert "taskhub" not in said


@pytest.mark.parametrize("name", SERVICES)
def test_a_service_is_exposed_as_little_as_it_can_be(name: str) -> None:
    """Of 10; what is left is the network, its own account's files and that it shares the machine's root folder."""
    assert "Overall exposure level" in analyze(
        "security", "--no-pager", "--offline=true", "--threshold=18", UNITS / name
    )


def test_the_account_and_the_folders_are_made(tmp_path: Path) -> None:
    if os.geteuid() != 0 or shutil.which("systemd-sysusers") is None:
        pytest.skip("only root can make accounts, and systemd's tools are needed")
    (tmp_path / "etc").mkdir()
    (tmp_path / "etc/group").write_text("root:x:0:\nwww-data:x:33:\n")
    (tmp_path / "etc/passwd").write_text("root:x:0:0:root:/root:/bin/sh\nwww-data:x:33:33::/var/www:/bin/false\n")
    subprocess.run(["systemd-sysusers", f"--root={tmp_path}", UNITS / "taskhub.sysusers"], check=True, timeout=30)
    (account,) = [line for line in (tmp_path / "etc/passwd").read_text().splitlines() if line.startswith("taskhub:")]
    assert account.split(":")[5:] == ["/var/lib/taskhub", "/usr/sbin/nologin"]
    made = ["systemd-tmpfiles", "--create", f"--root={tmp_path}", UNITS / "taskhub.tmpfiles"]
    subprocess.run(made, check=True, timeout=30)
    sockets, data = (tmp_path / "run/taskhub").stat(), (tmp_path / "var/lib/taskhub").stat()
    assert (sockets.st_gid, oct(sockets.st_mode & 0o777)) == (33, "0o750")
    assert (data.st_uid, oct(data.st_mode & 0o777)) == (int(account.split(":")[2]), "0o700")


def test_services_are_told_everything_by_the_environment_file() -> None:
    for name in SERVICES:
        assert unit_lines(name, "EnvironmentFile") == ["/etc/taskhub/taskhub.env"]
        assert unit_lines(name, "Environment") == []
        assert unit_lines(name, "User") == ["taskhub"]
        assert unit_lines(name, "UMask") == ["0077"]
    assert read_env_file(DEPLOY / "taskhub.env.example")["DJANGO_SETTINGS_MODULE"] == "config.settings.production"


def test_the_target_starts_what_nginx_knows() -> None:
    wanted = set(unit_lines("taskhub.target", "Wants")[0].split())
    webs = [unit for unit in wanted if unit.startswith("taskhub-web@")]
    assert wanted == {*webs, "taskhub-worker.service", "taskhub-beat.service"}
    site = (DEPLOY / "nginx/taskhub.conf").read_text()
    assert len(webs) == site.count("server unix:") == 2
    for unit in webs:
        instance = unit.partition("@")[2].removesuffix(".service")
        command = unit_command("taskhub-web@.service", instance=instance)
        assert f"server unix:{command[command.index('--uds') + 1]} " in site


@pytest.mark.postgres
def test_worker_and_beat_live_and_end_as_their_units_say(fresh_deployment: Deployment) -> None:
    hub = fresh_deployment

    def names() -> set[str]:
        with psycopg.connect(hub.env["DATABASE_URL"]) as connection:
            return {name for (name,) in connection.execute("SELECT name FROM taskhub_heartbeat")}

    for unit in ("taskhub-worker.service", "taskhub-beat.service"):
        hub.start_unit(unit)
    wait_until(lambda: names() == {"worker", "beat"}, "both show that they live", within_s=60)
    assert hub.stop_unit("taskhub-beat.service") == 0
    assert hub.stop_unit("taskhub-worker.service") == 0
