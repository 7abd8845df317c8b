"""`?html=true`: texts in Markdown, as HTML beside it."""

from __future__ import annotations

from typing import Final

from rest_framework import serializers

from taskhub.api.query import QuerySerializer
from taskhub.lib.markdown import LONGEST

HTML_HELP: Final = f"Only with `html=true`: as HTML, without raw HTML of the text; null beyond {LONGEST} characters."


class HtmlQuerySerializer(QuerySerializer):
    html = serializers.BooleanField(default=False, help_text="With the texts as HTML beside their Markdown.")
