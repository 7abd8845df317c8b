"""Static files by WhiteNoise, with those that `manage.py prepare` has made for the pages."""

from __future__ import annotations

import threading
from typing import Any

from django.conf import settings
from django.contrib.staticfiles.storage import staticfiles_storage
from django.http import HttpRequest
from whitenoise.middleware import WhiteNoiseMiddleware

from taskhub.web.static_storage import PreparedStaticFilesStorage


class StaticFiles(WhiteNoiseMiddleware):  # type: ignore[misc]  # whitenoise has no types
    """Takes the prepared files at the first request: a web process loads its code while they are being made."""

    def __init__(self, *args: Any, **options: Any) -> None:
        super().__init__(*args, **options)
        self._lock = threading.Lock()
        self._is_complete = settings.TASKHUB_PREPARED_STATIC is None

    def __call__(self, request: HttpRequest) -> Any:
        if not self._is_complete:
            with self._lock:
                if not self._is_complete:
                    self._take_prepared()
                    self._is_complete = True
        return super().__call__(request)

    def _take_prepared(self) -> None:
        folder = settings.TASKHUB_PREPARED_STATIC
        if isinstance(staticfiles_storage, PreparedStaticFilesStorage):
            staticfiles_storage.load()
        if folder is not None and folder.is_dir():
            self.add_files(folder, prefix=self.static_prefix)
