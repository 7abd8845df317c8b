"""Apps of others, loaded in another way than they load themselves."""

from __future__ import annotations

from django.apps import AppConfig


class DaphneConfig(AppConfig):
    """The server of `runserver`. daphne's own configuration imports it, with Twisted, into every process."""

    name = "daphne"
