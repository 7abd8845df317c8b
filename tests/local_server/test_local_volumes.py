"""Volumes of the local server: folders that sandboxes mount, and what cannot be mounted."""

from typing import Any

import aiohttp
import pytest
from local_server_harness import Server, needs_bwrap
from test_local_secrets import Client


@pytest.fixture
def client(bwrap_server: Server, http: aiohttp.ClientSession) -> Client:
    return Client(bwrap_server, http)


async def volume(client: Client, name: str) -> str:
    status, body, _ = await client.call("POST", "/api/volumes", body={"name": name})
    assert (status, body["state"]) == (200, "ready")
    return str(body["id"])


@needs_bwrap
async def test_sandboxes_share_a_volume_and_have_folders_of_their_own_in_it(client: Client) -> None:
    shared = await volume(client, "shared")
    whole = await client.make(volumes=[{"volumeId": "shared", "mountPath": "/taskhub-data/all"}])
    mounts = [{"volumeId": shared, "mountPath": "/taskhub-data/mine", "subpath": "tasks/1"}]
    part = await client.make(volumes=mounts)
    status, document, _ = await client.call("GET", f"/api/sandbox/{part}")
    assert document["volumes"] == mounts
    assert (await client.run(part, "echo of part > /taskhub-data/mine/f; ls /taskhub-data"))["stdout"] == "mine\n"
    found = await client.run(whole, "cat /taskhub-data/all/tasks/1/f; echo of whole > /taskhub-data/all/g; ls ~")
    assert found["stdout"] == "of part\n"
    assert (await client.run(part, "ls -a /taskhub-data/mine"))["stdout"].split() == [".", "..", "f"]
    assert (client.server.data_dir / "volumes/shared/g").read_text() == "of whole\n"
    # The rest of the machine is as it is without volumes: there, and not to be written.
    system = await client.run(part, "ls -d /usr/bin /etc/hosts; touch /x /taskhub-data/x /usr/x; ls /taskhub-data/x /x")
    assert system["stdout"].split() == ["/etc/hosts", "/usr/bin"]
    # In use, then not any more.
    status, body, _ = await client.call("DELETE", f"/api/volumes/{shared}")
    assert (status, body["message"]) == (409, "Volume shared is in use by a sandbox")
    # Another sandbox does not see it.
    alone = await client.make()
    assert (await client.run(alone, f"ls {client.server.data_dir}"))["stdout"].split() == [alone]


@needs_bwrap
async def test_a_volumes_own_links_lead_nowhere(client: Client) -> None:
    await volume(client, "linked")
    whole = await client.make(volumes=[{"volumeId": "linked", "mountPath": "/taskhub-data"}])
    await client.run(whole, "ln -s /etc /taskhub-data/out; ln -s other /taskhub-data/in; mkdir /taskhub-data/other")
    for subpath in ("out", "in/x", "out/ssl"):
        mounts = [{"volumeId": "linked", "mountPath": "/taskhub-data", "subpath": subpath}]
        sandbox = await client.make(volumes=mounts)
        status, body, _ = await client.call("POST", f"/toolbox/{sandbox}/process/session", body={"sessionId": "s"})
        assert status == 500, subpath
        assert "failed to start" in str(body)


@needs_bwrap
@pytest.mark.parametrize(
    ("mount", "words"),
    [
        ({"volumeId": "none-of-it", "mountPath": "/data"}, "Volume none-of-it not found"),
        ({"volumeId": "refusals", "mountPath": "data"}, "must be an absolute path"),
        ({"volumeId": "refusals", "mountPath": "/a/../b"}, "must be an absolute path"),
        ({"volumeId": "refusals", "mountPath": "/etc/hosts"}, "is a file of this machine"),
        ({"volumeId": "refusals", "mountPath": "/data", "subpath": "../x"}, "stay in the volume"),
        ({"volumeId": "refusals", "mountPath": "/data", "subpath": "/x"}, "stay in the volume"),
        ({"volumeId": "refusals"}, "must be strings"),
        ("refusals", "must be a list of objects"),
    ],
)
async def test_what_cannot_be_mounted_is_refused_in_a_sentence(client: Client, mount: Any, words: str) -> None:
    await client.call("POST", "/api/volumes", body={"name": "refusals"})
    status, body, _ = await client.call("POST", "/api/sandbox", body={"volumes": [mount]})
    assert status == 400
    assert words in body["message"]


async def test_without_bubblewrap_nothing_is_mounted_and_that_is_said(server: Server, http: Any) -> None:
    plain = Client(server, http)
    await volume(plain, "plain")
    body = {"volumes": [{"volumeId": "plain", "mountPath": "/data"}]}
    status, answer, _ = await plain.call("POST", "/api/sandbox", body=body)
    assert (status, answer["message"]) == (400, "The local sandbox server has no volumes without bubblewrap")
    assert (await plain.call("POST", "/api/volumes", body={"name": "plain"}))[0] == 409
    assert (await plain.call("POST", "/api/volumes", body={"name": "../x"}))[0] == 400
    assert [each["name"] for each in (await plain.call("GET", "/api/volumes"))[1]] == ["plain"]
    assert (await plain.call("DELETE", "/api/volumes/plain"))[0] == 200
    assert (await plain.call("GET", "/api/volumes/by-name/plain"))[0] == 404
