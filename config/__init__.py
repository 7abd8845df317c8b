"""The project: settings, URLs, the ASGI application, Celery, and the launcher of `make run`."""

from config.celery import app as celery_app

__all__ = ["celery_app"]
