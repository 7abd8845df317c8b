"""The project: settings, URLs, the ASGI application, Celery, and the launcher of `make run`."""

import os

from config import env_file

# Before anything reads a setting, DJANGO_SETTINGS_MODULE included. The tests have an environment of their own.
if os.environ.get("DJANGO_SETTINGS_MODULE") != "config.settings.test":
    try:
        env_file.load()
    except env_file.EnvFileRefused as error:
        raise SystemExit(f"TaskHub cannot start: {error}") from None

os.environ.setdefault("DJANGO_SETTINGS_MODULE", "config.settings.local")
