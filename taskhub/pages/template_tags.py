"""Template tags `page_script` and `page_styles`: a page's script and style sheets, one file each where prepared."""

from __future__ import annotations

from django import template
from django.contrib.staticfiles.storage import staticfiles_storage
from django.utils.html import format_html_join
from django.utils.safestring import SafeString

from taskhub.web.static_storage import SITE_SCRIPT, SITE_STYLES

register = template.Library()


@register.simple_tag
def page_script(script: str = SITE_SCRIPT) -> SafeString:
    """`{% page_script "taskhub/board.js" %}`: that of every page, and this one."""
    joined_url = getattr(staticfiles_storage, "joined_url", None)
    joined = joined_url(script) if joined_url else None
    addresses = [joined] if joined else [staticfiles_storage.url(name) for name in dict.fromkeys((SITE_SCRIPT, script))]
    return format_html_join("\n  ", '<script src="{}" type="module"></script>', ((address,) for address in addresses))


@register.simple_tag
def page_styles(*sheets: str) -> SafeString:
    """`{% page_styles "taskhub/board.css" %}`: those of every page, and these."""
    joined_url = getattr(staticfiles_storage, "joined_styles_url", None)
    joined = joined_url(sheets) if joined_url else None
    addresses = [joined] if joined else [staticfiles_storage.url(name) for name in (*SITE_STYLES, *sheets)]
    return format_html_join("\n  ", '<link rel="stylesheet" href="{}">', ((address,) for address in addresses))
