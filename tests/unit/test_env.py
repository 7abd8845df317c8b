from __future__ import annotations

from pathlib import Path

import pytest
from django.core.exceptions import ImproperlyConfigured

from config import env


def test_a_secret_comes_from_its_file_unless_it_is_set(monkeypatch, tmp_path: Path) -> None:
    (tmp_path / "key").write_text("from-file\n")
    monkeypatch.setenv("KEY_FILE", str(tmp_path / "key"))
    assert env.secret("KEY") == "from-file"
    monkeypatch.setenv("KEY", "set")
    assert env.secret("KEY") == "set"


def test_what_is_required_and_missing_is_named(monkeypatch) -> None:
    with pytest.raises(ImproperlyConfigured, match="NOT_THERE must be set"):
        env.text("NOT_THERE")
    monkeypatch.setenv("GONE_FILE", "/nowhere/key")
    with pytest.raises(ImproperlyConfigured, match="GONE_FILE cannot be read"):
        env.secret("GONE")


@pytest.mark.parametrize("value", ["ten", "-1", "11", "1.5", ""])
def test_a_bad_number_is_a_failed_start(monkeypatch, value: str) -> None:
    monkeypatch.setenv("N", value)
    with pytest.raises(ImproperlyConfigured, match="N must be a whole number from 0 to 10"):
        env.integer("N", 5, most=10)


def test_one_of_a_few_words_is_one_of_them(monkeypatch) -> None:
    assert env.one_of("FORM", "plain", ("plain", "json")) == "plain"
    monkeypatch.setenv("FORM", "json")
    assert env.one_of("FORM", "plain", ("plain", "json")) == "json"
    for wrong in ("JSON", "", "xml"):
        monkeypatch.setenv("FORM", wrong)
        with pytest.raises(ImproperlyConfigured, match=f"FORM must be plain or json, not '{wrong}'"):
            env.one_of("FORM", "plain", ("plain", "json"))


def test_traces_are_wanted_where_a_collector_is_named_and_nothing_is_disabled(monkeypatch) -> None:
    for name in ("OTEL_EXPORTER_OTLP_ENDPOINT", "OTEL_EXPORTER_OTLP_TRACES_ENDPOINT", "OTEL_SDK_DISABLED"):
        monkeypatch.delenv(name, raising=False)
    assert not env.traces_wanted()
    for name in ("OTEL_EXPORTER_OTLP_ENDPOINT", "OTEL_EXPORTER_OTLP_TRACES_ENDPOINT"):
        with monkeypatch.context() as patched:
            patched.setenv(name, "http://collector:4318")
            assert env.traces_wanted()
            patched.setenv("OTEL_SDK_DISABLED", "True")
            assert not env.traces_wanted()


def test_words_are_split_and_stripped(monkeypatch) -> None:
    monkeypatch.setenv("W", "a, b,,c ")
    assert env.words("W") == ["a", "b", "c"]
    assert env.words("UNSET") == []


def test_databases(monkeypatch) -> None:
    monkeypatch.setenv("DB", "postgresql://me:p%40ss@db.example:5433/hub?sslmode=require")
    found = env.database("DB")
    assert (found["USER"], found["PASSWORD"], found["HOST"], found["PORT"]) == ("me", "p@ss", "db.example", "5433")
    assert found["NAME"] == "hub"
    assert isinstance(found["OPTIONS"], dict)
    assert found["OPTIONS"]["sslmode"] == "require"
    ours = "-c lock_timeout=5s -c statement_timeout=30s -c idle_in_transaction_session_timeout=60s"
    assert found["OPTIONS"]["options"] == ours
    with monkeypatch.context() as patched:
        for limit in ("LOCK", "STATEMENT", "IDLE"):
            patched.setenv(f"TASKHUB_DATABASE_{limit}_TIMEOUT_S", "0")
        assert "options" not in env.database("DB")["OPTIONS"], "what a pooler may refuse"
        patched.setenv("TASKHUB_DATABASE_LOCK_TIMEOUT_S", "7")
        patched.setenv("DB", "postgresql://db/hub?options=-c%20lock_timeout%3D9s")
        assert env.database("DB")["OPTIONS"]["options"] == "-c lock_timeout=7s -c lock_timeout=9s"
    monkeypatch.setenv("DB", "sqlite:////srv/hub.sqlite3")
    assert env.database("DB")["NAME"] == "/srv/hub.sqlite3"
    monkeypatch.setenv("DB", "mysql://x")
    with pytest.raises(ImproperlyConfigured):
        env.database("DB")


def test_redis_addresses() -> None:
    assert env.redis_options("unix:///run/redis.sock?db=2") == {
        "unix_socket_path": "/run/redis.sock",
        "db": 2,
        "username": None,
        "password": None,
    }
    options = env.redis_options("rediss://user:secret@host:6380/1")
    assert (options["host"], options["port"], options["db"], options["ssl"]) == ("host", 6380, 1, True)
    assert options["password"] == "secret"
    with pytest.raises(ImproperlyConfigured):
        env.redis_options("http://host")
    assert env.celery_broker_url("redis://host/0") == "redis://host/0"
    assert env.celery_broker_url("unix:///run/redis.sock") == "redis+socket:///run/redis.sock?virtual_host=0"
