"""The test suite: the local profile on a data folder of its own. Servers that tests start use `local` itself."""

from __future__ import annotations

import os
import tempfile
from pathlib import Path

# Before base reads it: nothing of a test may reach the data of `make run`.
if "TASKHUB_DATA_DIR" not in os.environ:
    os.environ["TASKHUB_DATA_DIR"] = tempfile.mkdtemp(prefix="taskhub-test-")
    os.environ["TASKHUB_DATA_DIR_MADE_BY"] = str(os.getpid())  # who removes it
# Nor may the settings of `make run` reach the servers that tests start.
os.environ["TASKHUB_ENV_FILE"] = ""
# Where several processes run the tests, each has a folder of its own below that of the one that started them.
_WORKER = os.environ.get("PYTEST_XDIST_WORKER", "")
if _WORKER and Path(os.environ["TASKHUB_DATA_DIR"]).name != _WORKER:
    os.environ["TASKHUB_DATA_DIR"] += f"/{_WORKER}"
    os.environ.pop("REDIS_URL", None)
    Path(os.environ["TASKHUB_DATA_DIR"]).mkdir(exist_ok=True)
# The suite starts a server of its own there (tests/conftest.py).
os.environ.setdefault("REDIS_URL", f"unix://{os.environ['TASKHUB_DATA_DIR']}/redis.sock")

from config import env  # noqa: E402 - the folders are chosen before anything reads of them

from .base import *  # noqa: E402

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
OAUTH2_PROVIDER = oauth_provider(registration=True, documents=True)  # noqa: F405 - from base
TASKHUB_OPEN_READING = True
TASKHUB_SIGN_IN_LINKS = True
TASKHUB_ADDRESS = "http://localhost:8000"
PASSWORD_HASHERS = ["django.contrib.auth.hashers.MD5PasswordHasher", CLIENT_SECRET_HASHER]  # noqa: F405 - from base
WHITENOISE_AUTOREFRESH = True
