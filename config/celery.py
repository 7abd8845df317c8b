"""Celery: the short jobs of the apps (`jobs.py`), and the beat that reconciles and polls."""

from __future__ import annotations

import os

from celery import Celery

os.environ.setdefault("DJANGO_SETTINGS_MODULE", "config.settings.local")

app = Celery("taskhub")
app.config_from_object("django.conf:settings", namespace="CELERY")
# A Task is a row of ours, so Celery's tasks are called jobs here.
app.autodiscover_tasks(related_name="jobs")
app.autodiscover_tasks(["taskhub.webhooks"], related_name="jobs")
