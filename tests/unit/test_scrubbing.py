"""No secret reaches the logs, and nobody writes a line of them."""

from __future__ import annotations

import io
import logging

import pytest
from django.conf import settings
from hypothesis import given
from hypothesis import strategies as st

from taskhub import scrubbing
from taskhub.scrubbing import HIDDEN, ScrubbingFormatter, scrub


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
    ],
)
def test_what_is_secret_is_hidden_and_the_rest_stays(text: str, kept: str, secret: str) -> None:
    assert kept in scrub(text)
    assert secret not in scrub(text)
    assert HIDDEN in scrub(text)


def test_the_configured_secrets_are_known_by_their_value(settings, monkeypatch) -> None:
    settings.DAYTONA_API_KEY = "dtn_0123456789"
    scrubbing._configured.cache_clear()
    try:
        assert scrub(f"key dtn_0123456789 and {settings.SECRET_KEY}.") == f"key {HIDDEN} and {HIDDEN}."
    finally:
        scrubbing._configured.cache_clear()


def test_ordinary_words_stay() -> None:
    for text in ("the token is wrong", "a ticket for another stream", "http://localhost:8000/api/", "task 7 of 9"):
        assert scrub(text) == text


def logged(*arguments: object, error: Exception | None = None) -> str:
    out = io.StringIO()
    handler = logging.StreamHandler(out)
    handler.setFormatter(ScrubbingFormatter("%(message)s"))
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
    assert settings.SECRET_KEY not in logged("failed", error=ValueError(f"with {settings.SECRET_KEY}"))


@given(text=st.text(alphabet=st.characters(exclude_categories=["Cs"])))
def test_an_argument_stays_on_its_line(text: str) -> None:
    assert len(logged("asked for %s", text).splitlines()) == 1
