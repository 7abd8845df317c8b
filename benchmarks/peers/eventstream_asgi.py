"""Django's own ASGI handler: the library's view streams through it as its documentation has it."""

from __future__ import annotations

from django.core.asgi import get_asgi_application

application = get_asgi_application()
