"""The control API, through the SDK and in the raw."""

import asyncio
import warnings

import pytest
from local_server_harness import KEY, Raw, Server, daytona_client, eventually, made

with warnings.catch_warnings():
    warnings.simplefilter("ignore")
    from daytona import (
        CreateSandboxFromImageParams,
        CreateSandboxFromSnapshotParams,
        DaytonaAuthenticationError,
        DaytonaConflictError,
        DaytonaNotFoundError,
        DaytonaValidationError,
        ListSandboxesQuery,
        SandboxState,
    )


@pytest.fixture(autouse=True)
def some_snapshot(server: Server) -> None:
    folder = server.data_dir / "snapshots" / "some-snapshot" / "tools"
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "hello").write_text("from the snapshot")


async def test_a_sandbox_is_created_with_what_was_asked_for(daytona):
    async with made(
        daytona,
        name="created",
        env_vars={"A": "1"},
        labels={"team": "blue"},
        snapshot="some-snapshot",
        auto_stop_interval=7,
        auto_delete_interval=9,
    ) as sandbox:
        fresh = await daytona.get(sandbox.id)
        assert sandbox.state == fresh.state == SandboxState.STARTED
        assert fresh.name == "created"
        assert fresh.env == {"A": "1"}
        assert fresh.labels == {"team": "blue", "code-toolbox-language": "python"}
        assert fresh.snapshot == "some-snapshot"
        assert (fresh.auto_stop_interval, fresh.auto_delete_interval, fresh.target) == (7, 9, "us")
        assert (await daytona.get("created")).id == sandbox.id


async def test_defaults_are_daytonas(raw: Raw):
    status, made_row, _ = await raw.call("POST", "/api/sandbox", body={})
    assert status == 200
    assert made_row["state"] == "creating"
    assert made_row["desiredState"] == "started"
    assert made_row["name"] == made_row["id"]
    assert (made_row["autoStopInterval"], made_row["autoArchiveInterval"], made_row["autoDeleteInterval"]) == (
        15,
        10080,
        -1,
    )
    assert made_row["toolboxProxyUrl"] == f"{raw.server.url}/toolbox"
    assert all(type(made_row[key]) is int for key in ("cpu", "gpu", "memory", "disk"))
    assert made_row["kvm"] is False
    await raw.call("DELETE", f"/api/sandbox/{made_row['id']}")


async def test_a_snapshot_is_a_folder_that_the_home_is_copied_from(daytona, server: Server):
    async with made(daytona, snapshot="some-snapshot") as sandbox:
        assert await sandbox.fs.download_file("tools/hello") == b"from the snapshot"
    for name in ("another-snapshot", "..", "some-snapshot/tools"):
        with pytest.raises(DaytonaValidationError, match="not found"):
            await daytona.create(CreateSandboxFromSnapshotParams(snapshot=name))


async def test_what_cannot_be_held_is_refused_by_name(daytona):
    with pytest.raises(DaytonaValidationError, match="local sandbox server has no images and Dockerfiles"):
        await daytona.create(CreateSandboxFromImageParams(image="debian:12"))
    with pytest.raises(DaytonaValidationError, match="has no network to close without bubblewrap"):
        await daytona.create(CreateSandboxFromSnapshotParams(network_block_all=True))


async def test_a_name_that_is_taken_is_refused(daytona, sandbox):
    with pytest.raises(DaytonaConflictError, match="already exists"):
        async with made(daytona, name=sandbox.name):
            pass


@pytest.mark.parametrize(
    "body",
    [
        b"{",
        b"[]",
        {"name": 1},
        {"name": ""},
        {"env": {"A": 1}},
        {"env": {"A=B": "1"}},
        {"labels": "x"},
        {"cpu": 1.5},
        {"cpu": True},
        {"public": "yes"},
    ],
)
async def test_a_bad_creation_request_is_400(raw: Raw, body):
    status, error, _ = await raw.call("POST", "/api/sandbox", body=body)
    assert status == 400
    assert error["error"] == "Bad Request"


async def test_stop_start_delete(daytona, sandbox):
    await sandbox.stop()
    assert sandbox.state == SandboxState.STOPPED
    assert (await daytona.get(sandbox.id)).state == SandboxState.STOPPED
    await sandbox.start()
    assert sandbox.state == SandboxState.STARTED
    await sandbox.stop(force=True)
    await sandbox.delete(wait=True)
    with pytest.raises(DaytonaNotFoundError):
        await daytona.get(sandbox.id)


async def test_starting_a_started_sandbox_changes_nothing_and_stopping_a_stopped_one_is_400(raw: Raw, sandbox):
    status, row, _ = await raw.call("POST", f"/api/sandbox/{sandbox.id}/start")
    assert (status, row["state"]) == (200, "started")
    await sandbox.stop()
    status, error, _ = await raw.call("POST", f"/api/sandbox/{sandbox.id}/stop")
    assert (status, error["message"]) == (400, "Sandbox is not in a stoppable state")


async def test_transitional_states_are_visible_and_refuse_another_change(slow_server: Server, http):
    raw = Raw(slow_server, http)
    creating = asyncio.create_task(raw.call("POST", "/api/sandbox", body={"name": "slow"}))

    async def seen() -> str | None:
        status, row, _ = await raw.call("GET", "/api/sandbox/slow")
        return row["state"] if status == 200 else None

    assert await eventually(seen) == "creating"
    await creating
    for method, path, during in (
        ("POST", "/api/sandbox/slow/stop?force=false", "stopping"),
        ("POST", "/api/sandbox/slow/start", "starting"),
        ("DELETE", "/api/sandbox/slow", "destroying"),
    ):
        change = asyncio.create_task(raw.call(method, path))

        async def in_transition(during: str = during) -> bool:
            return await seen() == during

        await eventually(in_transition)
        for other in (("POST", "start"), ("POST", "stop"), ("DELETE", "")):
            status, error, _ = await raw.call(other[0], f"/api/sandbox/slow/{other[1]}".rstrip("/"))
            assert (status, error["message"]) == (409, "Sandbox state change in progress")
        assert (await change)[0] == 200

        async def settled(during: str = during) -> bool:
            return await seen() != during

        await eventually(settled)
    assert (await raw.call("GET", "/api/sandbox/slow"))[0] == 404


async def test_labels_and_intervals_are_set(daytona, sandbox):
    assert await sandbox.set_labels({"a": "b"}) == {"a": "b"}
    await sandbox.set_autostop_interval(3)
    await sandbox.set_auto_archive_interval(4)
    await sandbox.set_auto_delete_interval(-1)
    await sandbox.set_ttl(60)
    fresh = await daytona.get(sandbox.id)
    assert fresh.labels == {"a": "b"}
    assert (fresh.auto_stop_interval, fresh.auto_archive_interval, fresh.auto_delete_interval) == (3, 4, -1)
    assert fresh.auto_destroy_at


@pytest.mark.parametrize(
    ("method", "path", "body"),
    [
        ("PUT", "labels", {"labels": {"a": 1}}),
        ("PUT", "labels", []),
        ("POST", "autostop/x", None),
        ("POST", "autostop/-1", None),
        ("POST", "public/maybe", None),
        ("POST", "stop?force=perhaps", None),
    ],
)
async def test_a_bad_setting_is_400(raw: Raw, sandbox, method, path, body):
    assert (await raw.call(method, f"/api/sandbox/{sandbox.id}/{path}", body=body))[0] == 400


async def test_the_small_calls(raw: Raw, sandbox):
    base = f"/api/sandbox/{sandbox.id}"
    assert (await raw.call("POST", f"{base}/last-activity"))[0] == 201
    status, body, _ = await raw.call("GET", f"{base}/toolbox-proxy-url")
    assert (status, body) == (200, {"url": f"{raw.server.url}/toolbox"})
    status, body, _ = await raw.call("POST", f"{base}/public/true")
    assert (status, body["public"]) == (200, True)
    assert (await raw.call("GET", "/api/config"))[0] == 200


async def test_lists_are_paged_filtered_and_sorted(daytona, raw: Raw):
    async with (
        made(daytona, name="page-1", labels={"set": "p"}),
        made(daytona, name="page-2", labels={"set": "p", "odd": "no"}),
        made(daytona, name="page-3", labels={"set": "p"}) as third,
    ):
        await third.stop()

        async def names(**query) -> list[str]:
            return [each.name async for each in daytona.list(ListSandboxesQuery(**query))]

        assert sorted(await names(labels={"set": "p"}, limit=1)) == ["page-1", "page-2", "page-3"]
        assert await names(labels={"set": "p", "odd": "no"}) == ["page-2"]
        assert await names(labels={"set": "p"}, states=[SandboxState.STOPPED]) == ["page-3"]
        assert await names(id=third.id.upper()[:13].lower()) == ["page-3"]
        assert (await names(name="PAGE-"))[0] == "page-3"
        for sort in ("name", "cpu", "memoryGib", "diskGib", "lastActivityAt", "createdAt"):
            for order in ("asc", "desc"):
                found: list[str] = []
                cursor = ""
                while True:
                    path = f"/api/sandbox?name=page-&limit=2&sort={sort}&order={order}&cursor={cursor}"
                    _, page, _ = await raw.call("GET", path)
                    found += [item["name"] for item in page["items"]]
                    if not (cursor := page["nextCursor"]):
                        break
                assert sorted(found) == ["page-1", "page-2", "page-3"]
                if sort == "name":
                    assert found == sorted(found, reverse=order == "desc")
        assert "env" not in page["items"][0]


@pytest.mark.parametrize(
    "query",
    [
        "limit=0",
        "limit=201",
        "limit=x",
        "states=destroyed",
        "states=sleepy",
        "labels={",
        "labels=[]",
        "sort=age",
        "order=up",
        "cursor=%25",
        "cursor=e30=",
        "cursor=WzEsICJhIl0=",
    ],
)
async def test_a_bad_list_query_is_400(raw: Raw, query):
    assert (await raw.call("GET", f"/api/sandbox?{query}"))[0] == 400


async def test_a_bad_key_is_refused(server: Server, raw: Raw, sandbox):
    async with daytona_client(server, key="another-key-0123456789") as stranger:
        with pytest.raises(DaytonaAuthenticationError, match="Invalid credentials"):
            await stranger.get(sandbox.id)
    for headers in ({"Authorization": ""}, {"Authorization": KEY}, {"Authorization": f"Bearer {KEY}x"}):
        assert (await raw.call("GET", "/api/sandbox", headers=headers))[0] == 401
        assert (await raw.call("GET", f"/toolbox/{sandbox.id}/process/session", headers=headers))[0] == 401


async def test_answers_carry_rate_limit_headers_per_throttler(raw: Raw, sandbox):
    for method, path, throttler in (
        ("GET", "/api/sandbox", "authenticated"),
        ("POST", "/api/sandbox", "sandbox-create"),
        ("POST", f"/api/sandbox/{sandbox.id}/start", "sandbox-lifecycle"),
    ):
        _, _, headers = await raw.call(method, path, body=b"{" if throttler == "sandbox-create" else None)
        assert int(headers[f"X-RateLimit-Limit-{throttler}"]) > int(headers[f"X-RateLimit-Remaining-{throttler}"]) > 0
        assert 0 < int(headers[f"X-RateLimit-Reset-{throttler}"]) <= 60
