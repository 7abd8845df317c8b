"""Entries of the sandbox service's vault: list, make, change and delete. Values are written and never shown.

The pages wait for the service on the event loop, and use the services of `/api/secrets/`.
"""

from __future__ import annotations

import re
from collections.abc import Awaitable, Callable, Coroutine
from functools import partial
from typing import Any, Final

from django import forms
from django.contrib import admin, messages
from django.http import Http404, HttpRequest
from django.http.response import HttpResponseBase
from django.shortcuts import redirect
from django.template.response import TemplateResponse
from django.urls import URLPattern, path, re_path, reverse
from unfold.widgets import UnfoldAdminTextareaWidget, UnfoldAdminTextInputWidget

from sandboxes.errors import SandboxError, SandboxMissing
from sandboxes.gateway import Document, EntryPage
from sandboxes.services import vault
from sandboxes.services.vault import HOST_PATTERN, HOSTS_MOST, VALUE_LIMIT
from taskhub.admin.awaited import awaited_page, page_made
from taskhub.admin.base import NOTHING, actor_of
from taskhub.admin_site import PAGES, HubAdminSite
from taskhub.selectors.environments import environments_by_secret
from taskhub.services.environment_references import ENTRY_NAME_PATTERN

ROWS: Final = 50
_LIST: Final = "admin:sandboxes_secret_changelist"
_HOST: Final = re.compile(HOST_PATTERN)


class SecretForm(forms.Form):
    """Of an entry that is there (`is_change`): an empty value leaves it as it is."""

    name = forms.RegexField(
        rf"\A{ENTRY_NAME_PATTERN}\Z",
        widget=UnfoldAdminTextInputWidget(),
        help_text="Letters, digits, - and _. An environment's secrets name it; it never changes.",
        error_messages={"invalid": "Must be 1 to 100 letters, digits, - and _."},
    )
    value = forms.CharField(
        max_length=VALUE_LIMIT,
        strip=False,
        widget=UnfoldAdminTextareaWidget(attrs={"autocomplete": "off", "spellcheck": "false"}),
        help_text="Passed on to the vault, and never shown again.",
    )
    hosts = forms.CharField(
        required=False,
        widget=UnfoldAdminTextareaWidget(),
        help_text="Hosts that the value may be sent to, as api.example.com or *.example.com, one a line. Empty: any; "
        "an environment takes such an entry only if its any_host names it.",
    )
    description = forms.CharField(max_length=500, required=False, widget=UnfoldAdminTextInputWidget())
    seen = forms.CharField(required=False, widget=forms.HiddenInput())

    def __init__(self, *args: Any, present: Document | None = None, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.present = present
        if present is not None:
            del self.fields["name"]
            self.fields["value"].required = False
            self.fields["value"].help_text = "Leave it empty to keep the present value."
            self.initial = {
                "hosts": "\n".join(present["hosts"] or ()),
                "description": present["description"] or "",
                "seen": _moment_of(present),
            }

    def clean_value(self) -> str:
        return str(self.cleaned_data["value"]).replace("\r\n", "\n")

    def clean_hosts(self) -> list[str]:
        hosts = str(self.cleaned_data["hosts"]).split()
        if len(hosts) > HOSTS_MOST:
            raise forms.ValidationError(f"At most {HOSTS_MOST} hosts.")
        if wrong := [host for host in hosts if len(host) > 253 or not _HOST.match(host)]:  # noqa: PLR2004 - of a name
            raise forms.ValidationError(f"Must be a host in lower case, without address and port: {wrong[0][:100]}")
        return hosts

    def clean(self) -> dict[str, Any]:
        cleaned: dict[str, Any] = super().clean() or {}
        if self.present is not None and cleaned.get("seen") != _moment_of(self.present):
            # The form has all fields, and would undo what another operator has changed.
            self.add_error(None, "It was changed meanwhile: open this page anew, and repeat your change.")
        return cleaned

    @property
    def fields_given(self) -> dict[str, Any]:
        """For the service; of an entry that is there only what differs."""
        given = {name: self.cleaned_data[name] for name in ("value", "hosts", "description")}
        if self.present is None:
            return {"name": self.cleaned_data["name"], **given}
        now = {"value": "", "hosts": self.present["hosts"] or [], "description": self.present["description"] or ""}
        return {name: value for name, value in given.items() if value != now[name]}


def secret_list(request: HttpRequest) -> HttpResponseBase:
    """The newest entries first, a page at a time."""
    cursor = request.GET.get("cursor") or None

    async def work() -> HttpResponseBase:
        page, trouble = EntryPage([], None), None
        try:
            page = await vault.secret_page(cursor=cursor, limit=ROWS)
        except SandboxError as error:
            trouble = error

        def make() -> HttpResponseBase:
            used = environments_by_secret()
            rows = [{**entry, "used_by": ", ".join(used.get(entry["name"], [])) or NOTHING} for entry in page.items]
            context = {"rows": rows, "next_cursor": page.next_cursor, "trouble": trouble}
            return _page(request, "admin/secrets.html", "Secrets", **context)

        return await page_made(request, make)

    return _answered(request, work)


def secret_add(request: HttpRequest) -> HttpResponseBase:
    async def work() -> HttpResponseBase:
        form = SecretForm(request.POST if request.method == "POST" else None)
        if form.is_bound and form.is_valid():
            saving = vault.secret_create(actor=actor_of(request), **form.fields_given)
            if await _is_saved(form, saving):
                return await _told(request, f"The entry {form.cleaned_data['name']} was made.")
        return await _form_page(request, form, "Add an entry to the vault")

    return _answered(request, work)


def secret_change(request: HttpRequest, name: str) -> HttpResponseBase:
    async def work() -> HttpResponseBase:
        present = await vault.secret_get(name=name)
        form = SecretForm(request.POST if request.method == "POST" else None, present=present)
        if form.is_bound and form.is_valid():
            fields = form.fields_given
            saving = partial(vault.secret_update, actor=actor_of(request), name=name, **fields)
            if not fields or await _is_saved(form, saving()):
                return await _told(request, f"The entry {name} was {'changed' if fields else 'left as it is'}.")
        return await _form_page(request, form, f"Change the entry {name}", name=name)

    return _answered(request, work)


def secret_delete(request: HttpRequest, name: str) -> HttpResponseBase:
    async def work() -> HttpResponseBase:
        form = forms.Form(request.POST if request.method == "POST" else None)
        if form.is_bound:
            form.is_valid()
            if await _is_saved(form, vault.secret_delete(actor=actor_of(request), name=name)):
                return await _told(request, f"The entry {name} was deleted.")
        else:
            await vault.secret_get(name=name)

        def make() -> HttpResponseBase:
            users = environments_by_secret().get(name, [])
            return _page(request, "admin/secret_delete.html", f"Delete the entry {name}?", form=form, users=users)

        return await page_made(request, make)

    return _answered(request, work)


def _answered(request: HttpRequest, work: Callable[[], Coroutine[Any, Any, HttpResponseBase]]) -> HttpResponseBase:
    """Where the service does not tell about an entry, the list says why."""

    async def guarded() -> HttpResponseBase:
        try:
            return await work()
        except SandboxMissing:
            raise Http404("The vault has no entry of this name.") from None
        except SandboxError as error:
            messages.error(request, error.message)
            return await page_made(request, lambda: redirect(_LIST))

    return awaited_page(request, guarded)


async def _is_saved(form: forms.Form, saving: Awaitable[object]) -> bool:
    """Else the form says why."""
    try:
        await saving
    except SandboxError as error:
        form.add_error(None, error.message)
        return False
    return True


async def _told(request: HttpRequest, words: str) -> HttpResponseBase:
    messages.success(request, words)
    return await page_made(request, lambda: redirect(_LIST))


async def _form_page(request: HttpRequest, form: SecretForm, title: str, *, name: str = "") -> HttpResponseBase:
    return await page_made(request, lambda: _page(request, "admin/secret.html", title, form=form, name=name))


def _page(request: HttpRequest, template: str, title: str, **context: Any) -> HttpResponseBase:
    shared = {**admin.site.each_context(request), "title": title, "list_address": reverse(_LIST)}
    return TemplateResponse(request, template, {**shared, **context})


def _moment_of(entry: Document) -> str:
    return str(entry["updatedAt"] or "")


def secret_pages(site: HubAdminSite) -> list[URLPattern]:
    one = rf"^sandboxes/secret/(?P<name>{ENTRY_NAME_PATTERN})"
    pages: list[tuple[Callable[..., URLPattern], str, Callable[..., HttpResponseBase], str]] = [
        (path, "sandboxes/secret/", secret_list, "changelist"),
        (path, "sandboxes/secret/add/", secret_add, "add"),
        (re_path, rf"{one}/change/$", secret_change, "change"),
        (re_path, rf"{one}/delete/$", secret_delete, "delete"),
    ]
    return [
        made(address, site.admin_view(view), name=f"sandboxes_secret_{name}") for made, address, view, name in pages
    ]


PAGES.append(secret_pages)
