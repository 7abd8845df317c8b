"""`/components/`: every variable and component of the design (docs/design.md), for those who work on the pages."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final

from django.contrib.staticfiles import finders
from django.core.exceptions import ImproperlyConfigured
from django.http import HttpRequest, HttpResponse
from django.shortcuts import render

from taskhub.pages import page

GROUPS: Final = {
    "Grounds and lines": ("page", "surface", "sunken", "line", "edge", "veil"),
    "Text and states": ("text", "muted", "accent", "on-accent", "good", "warn", "bad", "warn-ground", "bad-ground"),
    "A log's colours": tuple(f"c{n}" for n in range(8)),
    "Initials": (*(f"hue-{n}" for n in range(8)), "on-hue"),
}
"""Names of the colours in `variables.css`; `components.css` has a rule for each."""


@page
def components(request: HttpRequest) -> HttpResponse:
    values = dict(_variables())
    colours = [(title, [(f"--{name}", values[f"--{name}"]) for name in names]) for title, names in GROUPS.items()]
    sizes: dict[str, Any] = {
        kind: [(name, value) for name, value in values.items() if name.startswith(f"--{kind}-")]
        for kind in ("size", "space", "radius")
    }
    return render(request, "components.html", {"colours": colours, "lines": range(8), **sizes})


def _variables() -> Iterator[tuple[str, str]]:
    path = finders.find("taskhub/variables.css")
    if not isinstance(path, str):
        raise ImproperlyConfigured("taskhub/variables.css was not found among the static files.")
    text = Path(path).read_text(encoding="utf-8")
    for name, value in re.findall(r"(--[\w-]+):\s*([^;]+);", text):
        yield name, " ".join(value.split())
