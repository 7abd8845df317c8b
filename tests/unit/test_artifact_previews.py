"""Kept files as people look at them: previews by content, and all of them as one zip."""

from __future__ import annotations

import io
import zipfile
from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any

import pytest
from django.core.files.base import ContentFile
from django.core.files.storage import default_storage
from rest_framework.test import APIClient

from taskhub.auth.actor import SYSTEM
from taskhub.executions.artifact_reading import IMAGE_BYTES, PREVIEW_BYTES
from taskhub.models import Artifact, Execution
from taskhub.services.executions import Outcome, execution_finish, execution_queue
from taskhub.services.tasks import task_create

pytestmark = [pytest.mark.django_db, pytest.mark.sqlite_suffices]

PNG = b"\x89PNG\r\n\x1a\n" + bytes(20)
Keep = Callable[..., Artifact]


@pytest.fixture
def execution() -> Execution:
    task = task_create(actor=SYSTEM, title="t")
    return execution_queue(actor=SYSTEM, task_id=task.pk, script="true")


@pytest.fixture
def keep(execution: Execution) -> Keep:
    def kept(path: str, content: bytes, size: int = 0) -> Artifact:
        name = default_storage.save(f"artifacts/{execution.pk}/1", ContentFile(content))
        row = Artifact.objects.create(execution=execution, path=path, size=size or len(content), stored_as=name)
        Artifact.objects.filter(pk=row.pk).update(kept_at=datetime(2026, 11, 27, 20, 30, 2, tzinfo=UTC))
        return row

    return kept


@pytest.fixture
def shown(api: APIClient, execution: Execution, keep: Keep) -> Callable[..., dict[str, Any]]:
    def preview(path: str, content: bytes, size: int = 0) -> dict[str, Any]:
        answer = api.get(f"/api/exec/artifacts/{execution.task_id}/{keep(path, content, size).pk}/preview/")
        assert answer.status_code == 200, answer.content
        found: dict[str, Any] = answer.json()
        return found

    return preview


def test_texts_are_shown_by_their_content(shown: Callable[..., dict[str, Any]]) -> None:
    assert shown("out/größe.bin", "\ufeffGröße\n".encode()) == {
        "path": "out/größe.bin",
        "size": 11,
        "kind": "text",
        "media_type": "",
        "text": "Größe\n",
        "html": None,
        "is_cut": False,
    }
    assert shown("empty.txt", b"")["text"] == ""
    for content in (b"a\0b", b"caf\xe9", "Größe".encode()[:3]):
        assert shown(f"{content!r}.txt", content)["kind"] == "none"


def test_of_a_long_text_its_beginning_is_shown(shown: Callable[..., dict[str, Any]]) -> None:
    found = shown("long.txt", b"x" * (PREVIEW_BYTES - 1) + "ü".encode() + b"more")  # the cut is within a character
    assert (found["kind"], found["is_cut"], found["text"]) == ("text", True, "x" * (PREVIEW_BYTES - 1))
    exact = shown("exact.txt", b"x" * PREVIEW_BYTES)
    assert (exact["is_cut"], len(exact["text"])) == (False, PREVIEW_BYTES)


def test_markdown_is_rendered_without_its_raw_html(shown: Callable[..., dict[str, Any]]) -> None:
    found = shown("REPORT.MD", b"# Done\n\n<script>alert(1)</script> [x](javascript:alert(1))\n")
    assert found["kind"] == "markdown"
    assert "<h3>Done</h3>" in found["html"]
    assert "<script" not in found["html"]
    assert "href" not in found["html"]
    too_long = shown("long.md", b"*a* " * 10_000)
    assert (too_long["kind"], too_long["html"], len(too_long["text"])) == ("markdown", None, 40_000)


def test_images_are_known_by_their_first_bytes(shown: Callable[..., dict[str, Any]]) -> None:
    assert (shown("plot.txt", PNG)["kind"], shown("p.dat", PNG)["media_type"]) == ("image", "image/png")
    assert shown("a.jpg", b"\xff\xd8\xff\xe0 and so on")["media_type"] == "image/jpeg"
    assert shown("a.webp", b"RIFF\x20\0\0\0WEBPVP8 ")["media_type"] == "image/webp"
    assert shown("a.svg", b'<svg xmlns="http://www.w3.org/2000/svg"/>')["media_type"] == "image/svg+xml"
    assert shown("b.png", b"no image")["kind"] == "text"
    assert shown("large.png", PNG, IMAGE_BYTES + 1)["kind"] == "none"


def test_a_copy_that_is_gone_has_no_preview(api: APIClient, execution: Execution, keep: Keep) -> None:
    artifact = keep("a", b"a")
    default_storage.delete(artifact.stored_as)
    answer = api.get(f"/api/exec/artifacts/{execution.task_id}/{artifact.pk}/preview/")
    assert (answer.status_code, answer.json()["error"]["code"]) == (404, "artifact_gone")


def test_all_files_are_one_zip(api: APIClient, execution: Execution, keep: Keep) -> None:
    large = bytes(range(256)) * 4096
    for path, content in (("out/größe.txt", b"a"), ("large", large), ("..\\up", b"1"), (".._up", b"2"), ("empty", b"")):
        keep(path, content)
    for accept in ("application/json", "application/octet-stream"):
        answer = api.get(f"/api/exec/artifacts/{execution.task_id}/zip", headers={"accept": accept})
        assert answer["Content-Type"] == "application/octet-stream"
        assert answer["Content-Disposition"] == f'attachment; filename="task-{execution.pk}.zip"'
        with zipfile.ZipFile(io.BytesIO(b"".join(answer))) as archive:  # type: ignore[call-overload]  # a stream
            assert archive.testzip() is None
            found = {info.filename: archive.read(info) for info in archive.infolist()}
            made = {info.date_time for info in archive.infolist()}
    assert found == {"out/größe.txt": b"a", "large": large, ".._up": b"1", ".._up (2)": b"2", "empty": b""}
    assert made == {(2026, 11, 27, 20, 30, 2)}


def test_a_zip_without_one_of_its_files_does_not_look_whole(api: APIClient, execution: Execution, keep: Keep) -> None:
    keep("a", b"a")
    default_storage.delete(keep("b", b"b").stored_as)
    answer = api.get(f"/api/exec/artifacts/{execution.task_id}/zip")
    with pytest.raises(Exception, match="gone"):
        b"".join(answer)  # type: ignore[arg-type]  # a stream


def test_without_files_there_is_no_zip(api: APIClient, execution: Execution) -> None:
    address = f"/api/exec/artifacts/{execution.task_id}/zip"
    early = api.get(address)
    assert (early.status_code, early.json()["error"]["code"]) == (404, "artifact_not_found")
    assert "has not ended" in early.json()["error"]["message"]
    execution_finish(execution=execution, outcome=Outcome("completed"))
    assert "left no files" in api.get(address).json()["error"]["message"]
