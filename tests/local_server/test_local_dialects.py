"""Error bodies, in the words of Daytona v0.190 and of newer servers."""

import pytest
from local_server_harness import Raw, Server


@pytest.fixture
def old(raw: Raw) -> Raw:
    return raw


@pytest.fixture
def new(new_server: Server, http) -> Raw:
    return Raw(new_server, http)


async def made(raw: Raw) -> str:
    sandbox_id = (await raw.call("POST", "/api/sandbox", body={}))[1]["id"]
    assert (await raw.call("POST", f"/toolbox/{sandbox_id}/process/session", body={"sessionId": "s"}))[0] == 201
    return sandbox_id


def without_time(body: dict) -> dict:
    assert body["timestamp"].startswith("20")
    assert body["timestamp"].endswith("Z")
    return {key: value for key, value in body.items() if key != "timestamp"}


async def test_the_control_api(old: Raw, new: Raw):
    expected = {
        "path": "/api/sandbox/nope",
        "statusCode": 404,
        "error": "Not Found",
        "message": "Sandbox with ID or name nope not found",
    }
    assert without_time((await old.call("GET", "/api/sandbox/nope"))[1]) == expected
    assert without_time((await new.call("GET", "/api/sandbox/nope"))[1]) == {**expected, "source": "DAYTONA_API"}


async def test_the_toolbox_of_v0190(old: Raw):
    sandbox_id = await made(old)
    status, body, _ = await old.call("GET", f"/toolbox/{sandbox_id}/process/session/nope")
    assert status == 404
    assert without_time(body) == {
        "statusCode": 404,
        "message": "not found: session not found",
        "code": "NOT_FOUND",
        "path": "/process/session/nope",
        "method": "GET",
    }
    status, body, _ = await old.call("POST", f"/toolbox/{sandbox_id}/process/session/nope/exec", body={"command": "x"})
    assert (status, body) == (
        500,
        {
            "statusCode": 500,
            "message": "failed to execute command: not found: session not found",
            "timestamp": "0001-01-01T00:00:00Z",
            "path": "",
        },
    )
    status, body, _ = await old.call("POST", f"/toolbox/{sandbox_id}/process/session/s/exec", body={"command": ""})
    assert (status, body) == (400, b"")


@pytest.mark.parametrize(
    ("method", "path", "body", "status", "code"),
    [
        ("GET", "session/nope", None, 404, "PROCESS_NOT_FOUND"),
        ("GET", "session/s/command/nope", None, 404, "PROCESS_NOT_FOUND"),
        ("POST", "session/nope/exec", {"command": "x"}, 404, "PROCESS_NOT_FOUND"),
        ("POST", "session/s/exec", {"command": ""}, 400, "BAD_REQUEST"),
        ("POST", "session", {"sessionId": "s"}, 409, "CONFLICT"),
        ("POST", "session", b"{", 400, "INVALID_REQUEST_BODY"),
        ("POST", "session", [], 400, "INVALID_REQUEST_BODY"),
        ("POST", "execute", {"command": "sleep 9", "timeout": 1}, 408, "PROCESS_EXECUTION_TIMEOUT"),
        ("POST", "execute", {"command": ""}, 400, "BAD_REQUEST"),
        ("POST", "execute", {"command": "x", "timeout": "1"}, 400, "BAD_REQUEST"),
        ("POST", "execute", {"command": "x", "envs": []}, 200, None),
        ("POST", "execute", {"command": "x", "envs": {"A": 1}}, 400, "BAD_REQUEST"),
        ("POST", "no/such/route", None, 404, "NOT_FOUND"),
        ("PATCH", "session", None, 405, "METHOD_NOT_ALLOWED"),
    ],
)
async def test_the_toolbox_of_newer_servers(new: Raw, *, method, path, body, status, code):
    sandbox_id = await made(new)
    answered, error, _ = await new.call(method, f"/toolbox/{sandbox_id}/process/{path}", body=body)
    assert answered == status
    if code is not None:
        assert (error["code"], error["source"], error["path"]) == (code, "DAYTONA_DAEMON", f"/process/{path}")


async def test_input_to_what_has_ended(new: Raw):
    sandbox_id = await made(new)
    base = f"/toolbox/{sandbox_id}/process/session/s"
    _, done, _ = await new.call("POST", f"{base}/exec", body={"command": "true"})
    status, error, _ = await new.call("POST", f"{base}/command/{done['cmdId']}/input", body={"data": "x"})
    assert (status, error["code"]) == (410, "COMMAND_ALREADY_COMPLETED")
    assert (await new.call("POST", f"{base}/command/{done['cmdId']}/input", body={}))[0] == 400
    _, running, _ = await new.call("POST", f"{base}/exec", body={"command": "sleep 9", "runAsync": True})
    _, queued, _ = await new.call("POST", f"{base}/exec", body={"command": "true", "runAsync": True})
    assert (await new.call("POST", f"{base}/command/{queued['cmdId']}/input", body={"data": "x"}))[0] == 500
    full = {"data": "x" * 500_000}
    assert (await new.call("POST", f"{base}/command/{running['cmdId']}/input", body=full))[0] == 500


async def test_the_proxy(old: Raw, new: Raw):
    for raw, prefix, source in ((old, "bad request: ", None), (new, "", "DAYTONA_PROXY")):
        sandbox_id = await made(raw)
        await raw.call("POST", f"/api/sandbox/{sandbox_id}/stop?force=true")
        status, error, _ = await raw.call("GET", f"/toolbox/{sandbox_id}/process/session")
        assert status == 400
        assert error["message"].startswith(prefix)
        assert error["message"].endswith("Is the Sandbox started?")
        status, error, _ = await raw.call("GET", "/toolbox/gone/process/session")
        assert (status, error["code"], error.get("source")) == (401, "UNAUTHORIZED", source)
