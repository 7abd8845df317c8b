"""Apps of others, loaded in another way than they load themselves."""

from __future__ import annotations

from django.apps import AppConfig

from config import celery  # noqa: F401 - the app of all jobs; the launcher, which has no Django, is spared it


class DaphneConfig(AppConfig):
    """The server of `runserver`. daphne's own configuration imports it, with Twisted, into every process."""

    name = "daphne"
