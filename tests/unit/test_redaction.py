"""Redaction: no secret reaches the logs, and no client can forge a log line."""

from __future__ import annotations

import io
import json
import logging
from typing import Final

import pytest
from django.conf import settings
from hypothesis import given
from hypothesis import strategies as st

from taskhub.observability import redaction
from taskhub.observability.log_format import Form, LineFormatter
from taskhub.observability.redaction import HIDDEN, scrub

FORMS: Final[tuple[Form, ...]] = ("plain", "json")


@pytest.mark.parametrize(
    ("text", "kept", "secret"),
    [
        ("GET /api/events/stream?types=a&ticket=eyJr.x:1:y HTTP/1.1", "types=a&ticket=", "eyJr.x:1:y"),
        ("/x?token=abc&next=1", "&next=1", "abc"),
        ("{'Authorization': 'Bearer 0123456789abcdef'}", "Bearer ", "0123456789abcdef"),
        ("Authorization: Basic Zm9vOmJhcg==", "Basic ", "Zm9vOmJhcg"),
        ("postgresql://hub:hunter22@db/hub", "postgresql://hub:", "hunter22"),
        ("redis://:hunter22@cache:6379/0", "@cache:6379/0", "hunter22"),
        ("password=hunter22&user=a", "&user=a", "hunter22"),
        ('{"api_key": "hunter22", "a": 1}', '"a": 1', "hunter22"),
        ("DAYTONA_API_KEY=hunter22", "DAYTONA_API_KEY", "hunter22"),
        ("no use: whsec_C2FtcGxl+/8=.", "no use: ", "C2FtcGxl+/8="),
        ("connect(user='a', password='hunter22')", "user='a', password='", "hunter22"),
        ('token="hunter22"', 'token="', "hunter22"),
        ("/sign-on/callback/?code=abcdef.0123456789&state=x", "/sign-on/callback/?code=", "abcdef.0123456789"),
        ("code=a&state=0123456789abcdef0123456789abcdef", "code=a&state=", "0123456789abcdef"),
        ("https://p.example/end?id_token_hint=eyJhbGciOi.eyJzdWIi.c2ln&x=1", "&x=1", "eyJhbGciOi"),
    ],
)
def test_secrets_are_redacted_and_other_text_stays(text: str, kept: str, secret: str) -> None:
    assert kept in scrub(text)
    assert secret not in scrub(text)
    assert HIDDEN in scrub(text)


def test_the_configured_secrets_are_known_by_their_value(settings, monkeypatch) -> None:
    settings.DAYTONA_API_KEY = "dtn_0123456789"
    settings.TASKHUB_OIDC_CLIENT_SECRET = "of the provider"
    redaction._configured.cache_clear()
    try:
        assert scrub(f"key dtn_0123456789 and {settings.SECRET_KEY}.") == f"key {HIDDEN} and {HIDDEN}."
        assert scrub("the key of the provider") == f"the key {HIDDEN}"
    finally:
        redaction._configured.cache_clear()


def test_ordinary_words_stay() -> None:
    for text in (
        "the token is wrong",
        "a ticket for another stream",
        "http://localhost:8000/api/?state=ready",
        "task 7 of 9",
    ):
        assert scrub(text) == text


def logged(*arguments: object, error: Exception | None = None, form: Form = "plain") -> str:
    out = io.StringIO()
    handler = logging.StreamHandler(out)
    handler.setFormatter(LineFormatter(form))
    log = logging.getLogger("taskhub.tests.scrubbing")
    log.addHandler(handler)
    try:
        log.error(*arguments, exc_info=error)
    finally:
        log.removeHandler(handler)
    return out.getvalue()


def test_messages_arguments_and_tracebacks_are_scrubbed() -> None:
    assert "secret1" not in logged("asked for %s", "/x?ticket=secret1")
    assert "secret1" not in logged("asked for /x?ticket=secret1")
    assert "secret1" not in logged("%(a)s", {"a": "/x?ticket=secret1"})
    assert "secret1" not in logged("failed: %s", ValueError("password=secret1"))
    for form in FORMS:
        said = logged("failed", error=ValueError(f"with {settings.SECRET_KEY}"), form=form)
        assert settings.SECRET_KEY not in said
        assert "ValueError: with [hidden]" in said


@given(text=st.text(), form=st.sampled_from(FORMS))
def test_an_argument_stays_on_its_line(text: str, form: Form) -> None:
    assert len(logged("asked for %s", text, form=form).splitlines()) == 1


@pytest.mark.parametrize(
    "text", ['password="hunter22"', 'say "token": "hunter22"', "ticket='hunter22'\\", 'secret=hunter22\\"x"']
)
def test_a_scrubbed_line_is_still_json(text: str) -> None:
    said = logged(f"before {text}", error=ValueError(text), form="json")
    assert "hunter22" not in said
    line = json.loads(said)
    assert line["event"].startswith("before ")
    assert "ValueError" in line["exception"]
