"""TaskHub's addresses, and the library's stream of the same channel."""

from __future__ import annotations

import django_eventstream
from django.urls import include, path

from config.urls import urlpatterns as taskhub_urlpatterns

urlpatterns = [
    path("peer/stream", include(django_eventstream.urls), {"channels": ["tasks"]}),
    *taskhub_urlpatterns,
]
