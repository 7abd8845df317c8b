"""TaskHub's settings, with django-eventstream's own storage, channels and stream view in the place of ours."""

from __future__ import annotations

from config.settings.local import *  # noqa: F403 - a profile is another and what differs

ROOT_URLCONF = "benchmarks.peers.eventstream_urls"
EVENTSTREAM_STORAGE_CLASS = "django_eventstream.storage.DjangoModelStorage"
EVENTSTREAM_CHANNELMANAGER_CLASS = "django_eventstream.channelmanager.DefaultChannelManager"
