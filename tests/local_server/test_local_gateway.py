"""The socket.io gateway, through the SDK and by itself."""

import asyncio
import warnings

import pytest
import socketio
from local_server_harness import KEY, Server, daytona_client, eventually, made

with warnings.catch_warnings():
    warnings.simplefilter("ignore")
    from daytona import SandboxState


async def test_the_sdk_learns_of_changes_by_events(server: Server):
    async with daytona_client(server, polling=False) as client, made(client) as sandbox:
        dispatcher = client._event_dispatcher
        await eventually(lambda: dispatcher.is_connected)
        async with daytona_client(server) as other:
            await (await other.get(sandbox.id)).stop()
        # Nothing was asked since: the state came by itself.
        await eventually(lambda: sandbox.state == SandboxState.STOPPED)


async def test_every_change_is_announced_in_order(server: Server, daytona):
    seen: list[tuple[str, dict]] = []
    client = socketio.AsyncClient()
    for event in ("sandbox.created", "sandbox.state.updated", "sandbox.desired-state.updated"):
        client.on(event, lambda data, event=event: seen.append((event, data)))
    await client.connect(server.url, socketio_path="/api/socket.io/", auth={"token": KEY}, transports=["websocket"])
    try:
        async with made(daytona) as sandbox:
            await sandbox.stop()
            await sandbox.delete(wait=True)

        def of_this() -> list[tuple[str, str | None, str | None]]:
            return [
                (
                    event,
                    data.get("oldState", data.get("oldDesiredState")),
                    data.get("newState", data.get("newDesiredState")),
                )
                for event, data in seen
                if data.get("sandbox", data)["id"] == sandbox.id
            ]

        await eventually(lambda: len(of_this()) == 8)
        assert of_this() == [
            ("sandbox.created", None, None),
            ("sandbox.state.updated", "creating", "started"),
            ("sandbox.state.updated", "started", "stopping"),
            ("sandbox.desired-state.updated", "started", "stopped"),
            ("sandbox.state.updated", "stopping", "stopped"),
            ("sandbox.state.updated", "stopped", "destroying"),
            ("sandbox.desired-state.updated", "stopped", "destroyed"),
            ("sandbox.state.updated", "destroying", "destroyed"),
        ]
        assert seen[0][1]["toolboxProxyUrl"] == f"{server.url}/toolbox"
    finally:
        await client.disconnect()


@pytest.mark.parametrize("auth", [None, {}, {"token": "wrong"}, {"token": 1}, "text"])
async def test_a_wrong_token_is_refused(server: Server, auth):
    client = socketio.AsyncClient(reconnection=False)
    try:
        with pytest.raises(socketio.exceptions.ConnectionError):
            await client.connect(server.url, socketio_path="/api/socket.io/", auth=auth, transports=["websocket"])
    finally:
        await client.disconnect()
        await asyncio.sleep(0)
