"""Secrets of the local server: who has their values, where they lie, and what their output shows."""

import json
import random
import re
import stat
from pathlib import Path
from typing import Any

import aiohttp
import pytest
from local_server_harness import Raw, Server

from sandboxes.local.errors import ControlError
from sandboxes.local.logs import STDOUT_MARKER, Marker
from sandboxes.local.masking import MASK, Mask
from sandboxes.local.vault import Vault

VALUE = "hunter2-of-the-local-vault"
OTHER = "-----BEGIN KEY-----\nc2VjcmV0LW9m\n-----END KEY-----\n"


class Client(Raw):
    async def make(self, **fields: Any) -> str:
        status, body, _ = await self.call("POST", "/api/sandbox", body=fields)
        assert status == 200, body
        return str(body["id"])

    async def run(self, sandbox_id: str, command: str, session: str = "s") -> dict[str, Any]:
        base = f"/toolbox/{sandbox_id}/process/session"
        await self.call("POST", base, body={"sessionId": session})
        status, body, _ = await self.call("POST", f"{base}/{session}/exec", body={"command": command})
        assert status == 200, body
        return dict(body)


async def entry(raw: Raw, name: str, value: str = VALUE, **fields: Any) -> str:
    status, body, _ = await raw.call("POST", "/api/secret", body={"name": name, "value": value, **fields})
    assert status == 201, body
    assert value not in json.dumps(body)
    return str(body["id"])


@pytest.fixture
def client(server: Server, http: aiohttp.ClientSession) -> Client:
    return Client(server, http)


def stored(data_dir: Path, *, besides: str = "") -> bytes:
    """Every name and every file of the server, but for those in homes."""
    paths = [path for path in data_dir.rglob("*") if not (besides and besides in path.parts)]
    return b"\n".join(str(path).encode() + (path.read_bytes() if path.is_file() else b"") for path in paths)


async def test_entries_are_written_and_never_read(client: Client) -> None:
    first = await entry(client, "of-crud", hosts=["api.example.com"], description="d")
    status, body, _ = await client.call("POST", "/api/secret", body={"name": "of-crud", "value": "another value"})
    assert (status, body["message"]) == (409, "Secret with name of-crud already exists")
    second = await entry(client, "of-crud-too")
    status, page, _ = await client.call("GET", "/api/secret/paginated?name=OF-CRUD&limit=1")
    assert ([each["name"] for each in page["items"]], page["total"]) == (["of-crud-too"], 2)
    address = f"/api/secret/paginated?name=of-crud&limit=1&cursor={page['nextCursor']}"
    status, rest, _ = await client.call("GET", address)
    assert ([each["id"] for each in rest["items"]], rest["nextCursor"]) == ([first], None)
    status, changed, _ = await client.call("PATCH", f"/api/secret/{first}", body={"hosts": [], "value": "new-value"})
    assert (status, changed["hosts"], changed["description"]) == (200, [], "d")
    assert "new-value" not in json.dumps(changed)
    for each in (first, second):
        assert (await client.call("DELETE", f"/api/secret/{each}"))[0] == 204
        assert (await client.call("GET", f"/api/secret/{each}"))[0] == 404
    status, body, _ = await client.call("POST", "/api/sandbox", body={"secrets": [{"A": "of-crud"}]})
    assert (status, body["message"]) == (400, "Secret of-crud not found")


@pytest.mark.parametrize("value", ["abc", "\n a\n", "", "x\0yyy", 7, "\ud800abc"])
async def test_a_value_that_cannot_be_masked_is_refused_without_being_repeated(client: Client, value: Any) -> None:
    status, body, _ = await client.call("POST", "/api/secret", body={"name": "wrong", "value": value})
    assert status == 400
    assert "value" in body["message"]
    assert not (isinstance(value, str) and value.strip("\0\n ") and value in body["message"])


async def test_the_script_alone_has_the_values_and_nothing_shows_them(client: Client) -> None:
    await entry(client, "of-script")
    key = await entry(client, "of-script-key", OTHER)
    sandbox = await client.make(secrets=[{"TOKEN": "of-script"}, {"KEY": "of-script-key"}])
    _, shown, _ = await client.call("GET", f"/api/sandbox/{sandbox}")
    assert not {"secrets", "held"} & shown.keys()
    script = (
        'echo "len ${#TOKEN} $TOKEN"; printf %s "$KEY"; echo; printf "%s" "${TOKEN:0:9}"; sleep 0.05; '
        'echo "${TOKEN:9}!"; '
        'ls "/$TOKEN" 2>&1; (set -x; : "$TOKEN") ; head -c 300000 /dev/zero | tr "\\0" "x"; echo "$TOKEN"'
    )
    found = await client.run(sandbox, script)
    assert found["stdout"].startswith(f"len {len(VALUE)} ***\n***\n***\n***\n\n***!\n")
    assert found["stdout"].endswith("xxx***\n")
    assert VALUE not in json.dumps(found)
    # Outside the script's session there is none, and what runs there is masked all the same.
    for command, result in (('echo "[$TOKEN]"', "[]\n"), (f"echo {VALUE[:5]}{VALUE[5:]}", "***\n")):
        _, body, _ = await client.call("POST", f"/toolbox/{sandbox}/process/execute", body={"command": command})
        assert body["result"] == result
    # A running script goes on with what it was given; a changed entry is for the next session.
    await client.call("PATCH", f"/api/secret/{key}", body={"value": "another-value"})
    assert (await client.run(sandbox, 'echo "$KEY" | head -n 2 | tail -n 1'))["stdout"] == "***\n"
    assert (await client.run(sandbox, 'printf %s "${#KEY}"', "later"))["stdout"] == "13\n"
    assert VALUE.encode() not in stored(client.server.data_dir, besides="home")
    assert b"c2VjcmV0LW9m" not in stored(client.server.data_dir, besides="home")


async def test_names_of_files_that_the_runner_lists_are_masked(client: Client) -> None:
    await entry(client, "of-names")
    sandbox = await client.make(secrets=[{"TOKEN": "of-names"}])
    await client.run(
        sandbox, 'mkdir -p .taskhub/s; cd .taskhub/s; echo "a $TOKEN.txt" | tee changes changes.patch > ~/kept'
    )
    whole = f"a {VALUE}.txt\n".encode()
    for path, content in ((".taskhub/s/changes", b"a ***.txt\n"), ("kept", whole), (".taskhub/s/changes.patch", whole)):
        status, body, _ = await client.call("GET", f"/toolbox/{sandbox}/files/download?path={path}")
        assert (status, body) == (200, content)


async def test_an_entry_that_is_gone_keeps_new_sessions_from_starting(client: Client) -> None:
    gone = await entry(client, "of-gone")
    sandbox = await client.make(secrets=[{"TOKEN": "of-gone"}])
    await client.call("DELETE", f"/api/secret/{gone}")
    status, body, _ = await client.call("POST", f"/toolbox/{sandbox}/process/session", body={"sessionId": "s"})
    assert (status, "Secret of-gone not found" in json.dumps(body)) == (400, True)


def test_values_outlive_the_server_and_not_their_key(tmp_path: Path) -> None:
    vault = Vault(tmp_path)
    vault.load()
    vault.create({"name": "kept", "value": VALUE})
    for name in ("secrets.key", "secrets.json"):
        assert stat.S_IMODE((tmp_path / name).stat().st_mode) == 0o600
    assert VALUE.encode() not in stored(tmp_path)
    after = Vault(tmp_path)
    after.load()
    assert after.values({"TOKEN": "kept"}) == {"TOKEN": VALUE}
    (tmp_path / "secrets.key").unlink()
    replaced = Vault(tmp_path)
    replaced.load()
    replaced.create({"name": "of-the-new-key", "value": OTHER})
    with pytest.raises(ControlError, match="Secret kept cannot be decrypted") as refused:
        replaced.values({"TOKEN": "kept"})
    assert refused.value.status == 400
    assert replaced.values({"KEY": "of-the-new-key"}) == {"KEY": OTHER}


def test_masking_does_not_depend_on_how_output_is_cut(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sandboxes.local.logs._LONGEST_HELD_BYTES", 40)
    chance = random.Random(7)
    values = ["abcabc", "cabcx", "line one\nline two", "x" * 9]
    mask = Mask(values)
    for _ in range(2000):
        pieces = [*values, "abc", "x", "line one", " ", "\n", "ca"]
        text = "".join(chance.choices(pieces, k=chance.randint(1, 12))).encode()
        marker, shown, rest = Marker(STDOUT_MARKER, mask), b"", text
        while rest:
            length = chance.randint(1, len(rest))
            shown, rest = shown + marker.feed(rest[:length]), rest[length:]
        shown = (shown + marker.finish()).replace(STDOUT_MARKER, b"")
        whole = b"".join(mask.apply(line) for line in re.split(rb"(\n)", text))
        assert shown.rstrip(b"\n") == whole.rstrip(b"\n"), text
        assert all(value.encode() not in shown for value in ("abcabc", "cabcx", "line two"))
    assert mask.apply(b"abcabcabcx") == MASK
