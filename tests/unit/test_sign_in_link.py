"""One-time sign-in links: for whom they work, how often and how long; and what a refused one says."""

from __future__ import annotations

import threading
import time
from datetime import timedelta
from io import StringIO
from pathlib import Path

import pytest
from django.contrib.auth.models import User
from django.core.management import CommandError, call_command
from django.db import connection
from django.test import Client, RequestFactory

from taskhub.auth.rate_limits import failures
from taskhub.auth.sign_in_link import VALID_FOR, LinkRefused, link_make, link_use

pytestmark = pytest.mark.django_db


def token_of(link: str) -> str:
    return link.partition("token=")[2]


def test_link_signs_in_once(operator: User) -> None:
    link = link_make(operator)
    browser = Client()
    answer = browser.get(link)
    assert (answer.status_code, answer["Location"]) == (302, "/")
    assert "no-store" in answer["Cache-Control"]
    assert browser.get("/admin/").status_code == 200
    other = Client()
    refused = other.get(link)
    assert refused.status_code == 400
    assert "make link" in refused.text
    assert other.get("/admin/").status_code == 302
    # Who is signed in already needs no link.
    assert browser.get(link)["Location"] == "/"
    # Another link works.
    operator.refresh_from_db()
    assert other.get(link_make(operator)).status_code == 302
    assert other.get("/admin/").status_code == 200


@pytest.mark.parametrize(
    ("age", "status"), [(VALID_FOR - timedelta(seconds=5), 302), (VALID_FOR + timedelta(seconds=5), 400)]
)
def test_link_is_valid_for_ten_minutes(operator: User, monkeypatch, age: timedelta, status: int) -> None:
    link = link_make(operator)
    now = time.time()
    monkeypatch.setattr(time, "time", lambda: now + age.total_seconds())
    assert Client().get(link).status_code == status


def test_sign_in_by_password_and_new_password_end_a_link(operator: User, alice: User) -> None:
    link = link_make(operator)
    Client().post("/login/", {"username": "operator", "password": "operator"})
    assert Client().get(link).status_code == 400
    operator.refresh_from_db()
    link = link_make(operator)
    call_command("new_password", "operator", stdout=StringIO())
    assert Client().get(link).status_code == 400


@pytest.mark.parametrize(
    "wrong", ["", "x", "1", "1.x.y", "-1.a.b", "9" * 30, "1.1xWdwY.jvdBd-sYHaorYgiFzXrDrV7agSMc", "é", "\0"]
)
def test_forged_link_is_refused_and_counts_as_a_wrong_credential(operator: User, settings, wrong: str) -> None:
    settings.TASKHUB_FAILED_CREDENTIALS_PER_MINUTE = 3
    link = link_make(operator)
    for _ in range(3):
        assert Client().get("/sign-in/", {"token": wrong}).status_code == 400
    # A right link always passes.
    assert Client().get(link).status_code == 302


def test_link_of_one_account_is_none_of_another_and_of_a_closed_account_is_none(operator: User, alice: User) -> None:
    token = token_of(link_make(operator))
    assert Client().get("/sign-in/", {"token": token.replace(str(operator.pk), str(alice.pk), 1)}).status_code == 400
    operator.is_active = False
    operator.save()
    assert Client().get("/sign-in/", {"token": token}).status_code == 400


def test_looking_does_not_use_a_link_up(operator: User) -> None:
    link = link_make(operator)
    assert Client().head(link).status_code == 405
    assert Client().post(link).status_code == 405
    assert Client().get(link, headers={"Sec-Purpose": "prefetch;prerender"}).status_code == 503
    assert Client().get(link).status_code == 302


def test_links_are_for_this_machine_and_in_a_container_for_any_peer(operator: User, settings) -> None:
    link = link_make(operator)
    for peer in ("10.0.0.9", "::ffff:172.17.0.1", "2001:db8::1", ""):
        assert Client(REMOTE_ADDR=peer).get(link).status_code == 400, peer
    failures.forget()
    settings.TASKHUB_IN_CONTAINER = True
    assert "docker compose exec" in Client(REMOTE_ADDR="172.17.0.1").get("/sign-in/").text
    assert Client(REMOTE_ADDR="172.17.0.1").get(link, headers={"Host": "evil.example"}).status_code == 400
    assert Client(REMOTE_ADDR="::ffff:172.17.0.1").get(link, headers={"Host": "localhost"}).status_code == 302


def test_there_are_no_links_in_production(operator: User, settings) -> None:
    link = link_make(operator)
    settings.TASKHUB_SIGN_IN_LINKS = False
    assert Client().get(link).status_code == 404
    with pytest.raises(CommandError, match="local profile only"):
        call_command("sign_in_link")


def test_command_prints_a_link_that_works(operator: User, capsys) -> None:
    call_command("sign_in_link")
    said = capsys.readouterr()
    assert said.err == "It works once, within 10 minutes, from this machine.\n"
    assert said.out.startswith("http://localhost:8000/sign-in/?token=")
    assert Client().get(said.out.strip().removeprefix("http://localhost:8000")).status_code == 302
    with pytest.raises(CommandError, match="stranger"):
        call_command("sign_in_link", "stranger")


def test_prepare_hands_a_link_over_in_a_file_of_its_own(settings, tmp_path: Path, capsys) -> None:
    settings.DATA_DIR = tmp_path
    call_command("prepare", sign_in_link=tmp_path / "link")
    assert (tmp_path / "link").stat().st_mode & 0o777 == 0o600
    link = (tmp_path / "link").read_text()
    assert link not in capsys.readouterr().out
    assert Client().get(link).status_code == 302


@pytest.mark.django_db(transaction=True)
def test_of_many_uses_at_once_one_signs_in(operator: User, rf: RequestFactory) -> None:
    token = token_of(link_make(operator))
    begin = threading.Barrier(8)
    used: list[User] = []

    def use() -> None:
        try:
            begin.wait()
            used.append(link_use(rf.get("/sign-in/"), token))
        except LinkRefused:
            pass
        finally:
            connection.close()

    threads = [threading.Thread(target=use) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert used == [operator]
