"""The test suite: the local profile on a data folder of its own. Servers that tests start use `local` itself."""

from __future__ import annotations

import os
import tempfile
from pathlib import Path

# Before base reads it: nothing of a test may reach the data of `make run`.
os.environ.setdefault("TASKHUB_DATA_DIR", tempfile.mkdtemp(prefix="taskhub-test-"))
# The suite starts a server of its own there (tests/conftest.py).
os.environ.setdefault("REDIS_URL", f"unix://{os.environ['TASKHUB_DATA_DIR']}/redis.sock")

from config import env

from .base import *

SECRET_KEY = "only-for-tests"  # noqa: S105 - signs nothing outside the suite
ALLOWED_HOSTS = ["testserver", "localhost", "127.0.0.1"]
DATABASES = {
    "default": {
        **env.database(
            "TASKHUB_TEST_DATABASE_URL", unless_set=env.sqlite(Path(os.environ["TASKHUB_DATA_DIR"]) / "db.sqlite3")
        ),
    }
}
if DATABASES["default"]["ENGINE"] == "django.db.backends.sqlite3":
    # A file, not memory: tests with several threads need the real locking.
    DATABASES["default"]["TEST"] = {"NAME": str(Path(os.environ["TASKHUB_DATA_DIR"]) / "test.sqlite3")}
TASKHUB_OPEN_READING = True
PASSWORD_HASHERS = ["django.contrib.auth.hashers.MD5PasswordHasher"]
WHITENOISE_AUTOREFRESH = True
