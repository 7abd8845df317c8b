from __future__ import annotations

from taskhub import checks


def test_open_reading_and_debug_stay_on_loopback(settings) -> None:
    settings.ALLOWED_HOSTS = ["localhost"]
    settings.TASKHUB_OPEN_READING = settings.DEBUG = True
    assert checks.open_reading_stays_on_loopback() == checks.debug_stays_on_loopback() == []
    settings.ALLOWED_HOSTS = ["localhost", "hub.example.com"]
    assert [error.id for error in checks.open_reading_stays_on_loopback()] == ["taskhub.E001"]
    assert [error.id for error in checks.debug_stays_on_loopback()] == ["taskhub.E002"]
    settings.TASKHUB_OPEN_READING = settings.DEBUG = False
    assert checks.open_reading_stays_on_loopback() == checks.debug_stays_on_loopback() == []
