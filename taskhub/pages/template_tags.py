"""Template tags `page_script` and `page_styles`: a page's script and style sheets, one file each where prepared."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from django import template
from django.contrib.staticfiles.storage import staticfiles_storage
from django.utils.html import format_html_join
from django.utils.safestring import SafeString

from taskhub.web.static_storage import SITE_SCRIPT, SITE_STYLES

register = template.Library()


@register.simple_tag
def page_script(script: str = SITE_SCRIPT) -> SafeString:
    """`{% page_script "taskhub/board.js" %}`: that of every page, and this one."""
    addresses = _addresses("joined_url", script, dict.fromkeys((SITE_SCRIPT, script)))
    return format_html_join("\n  ", '<script src="{}" type="module"></script>', addresses)


@register.simple_tag
def page_styles(*sheets: str) -> SafeString:
    """`{% page_styles "taskhub/board.css" %}`: those of every page, and these."""
    addresses = _addresses("joined_styles_url", sheets, (*SITE_STYLES, *sheets))
    return format_html_join("\n  ", '<link rel="stylesheet" href="{}">', addresses)


def _addresses(method: str, files: str | Sequence[str], parts: Iterable[str]) -> list[tuple[str]]:
    """That of the joined file, by the storage's `method`; where there is none, those of its parts."""
    joined_url = getattr(staticfiles_storage, method, None)
    joined = joined_url(files) if joined_url else None
    return [(joined,)] if joined else [(staticfiles_storage.url(name),) for name in parts]
