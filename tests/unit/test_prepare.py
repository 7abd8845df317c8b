from __future__ import annotations

from io import StringIO
from pathlib import Path

import pytest
from django.contrib.auth.models import User
from django.core.management import call_command
from rest_framework.test import APIClient

from taskhub.models import ApiToken

pytestmark = pytest.mark.django_db


def start() -> str:
    out = StringIO()
    call_command("prepare", stdout=out)
    return out.getvalue()


@pytest.fixture(autouse=True)
def data_dir(settings, tmp_path: Path) -> Path:
    settings.DATA_DIR = tmp_path
    return tmp_path


def test_secrets_are_shown_once_and_the_token_is_its_owners_alone(data_dir: Path, anonymous: APIClient) -> None:
    said = start()
    token = (data_dir / "token").read_text().strip()
    assert token in said
    assert "password" in said
    assert (data_dir / "token").stat().st_mode & 0o777 == 0o600
    assert start() == ""
    assert User.objects.get().is_superuser
    anonymous.credentials(HTTP_AUTHORIZATION=f"Bearer {token}")
    assert anonymous.post("/api/tasks/", {"title": "t"}, format="json").status_code == 201


@pytest.mark.parametrize("stale", ["", "of-another-database"])
def test_a_token_of_another_database_is_replaced(data_dir: Path, stale: str) -> None:
    (data_dir / "token").write_text(stale)
    assert "API token" in start()
    assert (data_dir / "token").read_text().strip() != stale
    assert ApiToken.objects.count() == 1
