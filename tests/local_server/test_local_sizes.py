"""Sizes that sandboxes are held to, and stopped sandboxes that are kept as snapshots."""

import os
import shutil
from pathlib import Path

import aiohttp
import pytest
from local_server_harness import Server, eventually, running
from test_local_secrets import Client

from sandboxes.local.sizes import Sizes, disk_bytes, find_memory_groups


@pytest.fixture
def client(server: Server, http: aiohttp.ClientSession) -> Client:
    return Client(server, http)


@pytest.mark.skipif(len(os.sched_getaffinity(0)) < 2, reason="this machine has one CPU")
async def test_processes_run_on_as_many_cpus_as_their_sandbox_has(client: Client) -> None:
    small, usual = await client.make(cpu=1), await client.make()
    counts = [(await client.run(each, "bash -c nproc"))["stdout"].strip() for each in (small, usual)]
    assert counts == ["1", str(len(os.sched_getaffinity(0)))]


def test_cpus_are_dealt_out_in_turn() -> None:
    sizes = Sizes(None, cpus=[0, 1, 2, 5])
    assert [sizes.hold(name, {"cpu": 3}).cpus for name in "ab"] == [(0, 1, 2), (5, 0, 1)]
    assert sizes.hold("c", {"cpu": 4}).cpus == ()
    assert sizes.hold("d", {}).cpus == ()


@pytest.mark.skipif(find_memory_groups() is None, reason="no cgroup of memory can be made here")
async def test_processes_have_no_more_memory_than_their_sandbox(client: Client) -> None:
    sandbox = await client.make(memory=1)
    take = "perl -e '$x = \"a\" x ({} << 20); print length($x) >> 20'"
    assert (await client.run(sandbox, take.format(10)))["stdout"] == "10\n"
    assert (await client.run(sandbox, f"{take.format(1100)} 2>&1; echo $?"))["stdout"] in {"137\n", "Killed\n137\n"}
    assert (await client.run(sandbox, "echo on"))["stdout"] == "on\n"


def test_groups_are_found_in_either_version_and_in_containers(tmp_path: Path) -> None:
    proc, first, second = tmp_path / "proc", tmp_path / "v1", tmp_path / "v2"
    for folder in (proc, first / "b", second / "user"):
        folder.mkdir(parents=True)
    (proc / "cgroup").write_text("4:cpu,memory:/a/b\n0::/user\n")
    mounts = (
        f"30 29 0:26 /a {first} rw - cgroup cgroup rw,memory\n31 29 0:27 / {second} rw - cgroup2 none rw,nsdelegate\n"
    )
    (proc / "mountinfo").write_text(mounts)
    found = find_memory_groups(proc)
    assert found is not None
    assert (found.parent, found.limit) == (first / "b", "memory.limit_in_bytes")
    shutil.rmtree(first / "b")
    assert find_memory_groups(proc) is None  # version 2 passes no controller on
    (second / "user" / "cgroup.subtree_control").write_text("")
    found = find_memory_groups(proc)
    assert found is not None
    assert (found.parent, found.limit) == (second / "user", "memory.max")
    (proc / "cgroup").unlink()
    assert find_memory_groups(proc) is None


async def test_a_sandbox_whose_files_take_more_than_its_disk_is_ended(
    tmp_path: Path, http: aiohttp.ClientSession
) -> None:
    options = ("--no-bwrap", "--transition-ms", "5", "--disk-s", "0.05")
    with running(tmp_path / "data", *options) as server:
        client = Client(server, http)
        status, body, _ = await client.call("POST", "/api/sandbox", body={"cpu": 1000})
        assert (status, body["message"].startswith("The local sandbox server has no 1000 CPUs, only ")) == (400, True)
        small, unlimited = await client.make(disk=1), await client.make()
        fill = "fallocate -l 600M a && fallocate -l 600M b && ln a c"
        await client.run(unlimited, fill)
        # Not waited for: it is ended as soon as it is seen.
        await client.run(small, f"({fill}) >/dev/null 2>&1 &")

        async def ended() -> bool:
            _, body, _ = await client.call("GET", f"/api/sandbox/{small}")
            return body["state"] == "error" and body["errorReason"] == "disk_limit: the files take more than 1 GiB"

        await eventually(ended)
        assert (await client.call("GET", f"/api/sandbox/{unlimited}"))[1]["state"] == "started"


def test_a_file_with_two_names_takes_its_disk_once(tmp_path: Path) -> None:
    (tmp_path / "a").write_bytes(b"x" * 100_000)
    (tmp_path / "b").hardlink_to(tmp_path / "a")
    (tmp_path / "c").symlink_to("/")
    once = disk_bytes(tmp_path, most=10**9)
    assert 100_000 <= once < 150_000
    (tmp_path / "d").write_bytes(b"x" * 100_000)
    assert disk_bytes(tmp_path, most=10**9) >= once + 100_000


async def test_a_stopped_sandbox_is_kept_as_a_snapshot(client: Client) -> None:
    sandbox = await client.make()
    await client.run(sandbox, "mkdir -p a; echo one > a/f; ln -s a/f link; mkfifo pipe; echo temporary > .tmp/t")
    address = f"/api/sandbox/{sandbox}/snapshot"
    status, body, _ = await client.call("POST", address, body={"name": "of-it"})
    assert (status, body["message"]) == (400, "Sandbox must be stopped before it is kept as a snapshot")
    await client.call("POST", f"/api/sandbox/{sandbox}/stop")

    async def stopped() -> bool:
        return bool((await client.call("GET", f"/api/sandbox/{sandbox}"))[1]["state"] == "stopped")

    await eventually(stopped)
    status, body, _ = await client.call("POST", address, body={"name": "of-it"})
    assert (status, body["state"]) == (200, "snapshotting")
    await eventually(stopped)
    status, found, _ = await client.call("GET", "/api/snapshots/of-it")
    assert (found["state"], found["name"]) == ("active", "of-it")
    assert (await client.call("POST", address, body={"name": "of-it"}))[0] == 409
    assert (await client.call("POST", address, body={"name": "../x"}))[0] == 400
    assert [each["name"] for each in (await client.call("GET", "/api/snapshots?name=of-"))[1]["items"]] == ["of-it"]
    for more, said in (
        ({"cpu": 1}, "Cannot specify Sandbox resources when using a snapshot"),
        ({"buildInfo": {"dockerfileContent": "FROM a"}}, "Cannot specify a snapshot when using a build info entry"),
    ):
        status, body, _ = await client.call("POST", "/api/sandbox", body={"snapshot": "of-it", **more})
        assert (status, body["message"]) == (400, said)
    for name in ("of-it", found["id"]):
        copy = await client.make(snapshot=name)
        assert (await client.run(copy, "cat link; ls; ls .tmp"))["stdout"].split() == ["one", "a", "link"]
    assert (await client.call("DELETE", f"/api/snapshots/{found['id']}"))[0] == 200
    assert (await client.call("GET", "/api/snapshots/of-it"))[0] == 404
    status, body, _ = await client.call("POST", "/api/sandbox", body={"snapshot": "of-it"})
    assert (status, body["message"].startswith("Snapshot of-it not found")) == (400, True)


async def test_builds_are_played_with_their_states_and_log(tmp_path: Path, http: aiohttp.ClientSession) -> None:
    with running(tmp_path / "data", "--no-bwrap", "--fake-builds", "--transition-ms", "30") as server:
        client = Client(server, http)
        logs, states = {}, {}
        for name, last in (("good", "RUN true"), ("bad", "RUN make && exit 1")):
            dockerfile = f"# of a test\nFROM python:3.12\n{last}\nCMD x\n"
            body = {"name": name, "buildInfo": {"dockerfileContent": dockerfile}}
            status, made, _ = await client.call("POST", "/api/sandbox", body=body)
            assert (status, made["state"], made["buildInfo"]["dockerfileContent"]) == (200, "pending_build", dockerfile)
            _, found, _ = await client.call("GET", f"/api/sandbox/{name}/build-logs-url")
            address = found["url"].removeprefix(server.url)
            logs[name] = (await client.call("GET", f"{address}?follow=true"))[1].decode().splitlines()
            await client.call("GET", address)

            async def settled(name: str = name) -> bool:
                states[name] = (await client.call("GET", f"/api/sandbox/{name}"))[1]
                return states[name]["state"] in {"started", "build_failed"}

            await eventually(settled)
        steps = ["Step 1/3 : FROM python:3.12", "Step 2/3 : RUN true", "Step 3/3 : CMD x", "Successfully built"]
        assert (states["good"]["state"], logs["good"]) == ("started", steps)
        assert logs["bad"][1:] == ["Step 2/3 : RUN make && exit 1", failed := states["bad"]["errorReason"][14:]]
        assert (states["bad"]["state"], failed) == (
            "build_failed",
            "The command 'make && exit 1' returned a non-zero code: 1",
        )
        assert (await client.call("DELETE", "/api/sandbox/bad"))[0] == 200
