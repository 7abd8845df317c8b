"""The form of an environment in the admin: all of its fields, held against the rules before anything is saved."""

from __future__ import annotations

from typing import Any, Final

from django import forms
from unfold.widgets import (
    UnfoldAdminIntegerFieldWidget,
    UnfoldAdminPasswordWidget,
    UnfoldAdminSelectWidget,
    UnfoldAdminTextareaWidget,
    UnfoldAdminTextInputWidget,
    UnfoldBooleanSwitchWidget,
)

from taskhub.errors import Invalid
from taskhub.executions.environment_look import NO_LOOK, Look
from taskhub.models import Environment, EnvironmentSpec, VerifyPolicy
from taskhub.models.environment import SIZES
from taskhub.selectors.environments import version_of
from taskhub.services.environment_repositories import (
    DEPTH_MOST,
    PATH_LENGTH,
    REF_LENGTH,
    URL_LENGTH,
    credential_apart,
)
from taskhub.services.environment_rules import (
    DAY_S,
    SETUP_BYTES,
    SIZE_MOST,
    VERIFY_BYTES,
    guard_name,
    guard_spec,
)

_LINES: Final = ("cidrs", "domains", "accounts", "any_host", "credential_hosts")
_SPELT_OTHERWISE: Final = {"network": "network_kind", "allowed": "accounts", "repository": "repository_url"}
"""Fields of the API that the form has under other names."""
_REPOSITORY: Final = ("url", "ref", "path", "depth", "before_lock")


def _text(length: int, help_text: str) -> forms.CharField:
    return forms.CharField(max_length=length, required=False, widget=UnfoldAdminTextInputWidget(), help_text=help_text)


def _number(most: int, help_text: str, least: int = 1) -> forms.IntegerField:
    return forms.IntegerField(
        min_value=least,
        max_value=most,
        required=False,
        widget=UnfoldAdminIntegerFieldWidget(),
        help_text=help_text,
    )


def _lines(help_text: str) -> forms.CharField:
    return forms.CharField(required=False, widget=UnfoldAdminTextareaWidget(), help_text=f"{help_text}, one a line.")


class VariablesField(forms.JSONField):
    """Shows what was sent as it can be shown: a page has no half of a character."""

    def prepare_value(self, value: Any) -> Any:
        shown: str = super().prepare_value(value)
        return shown.encode(errors="backslashreplace").decode()


class EnvironmentForm(forms.ModelForm[Environment]):
    """Holds the input against the service's rules before it is saved, so a refusal loses none of it."""

    description = _text(1000, "What it is for.")
    snapshot = _text(200, "By its name at Daytona.")
    image = _text(500, "Instead of a snapshot, as python:3.12-slim.")
    dockerfile = forms.CharField(
        max_length=64 * 1024,
        required=False,
        strip=False,
        widget=UnfoldAdminTextareaWidget(),
        help_text="Instead of an image.",
    )
    cpu = _number(SIZE_MOST, "CPUs; only with an image or a Dockerfile.")
    memory = _number(SIZE_MOST, "GiB; likewise.")
    disk = _number(SIZE_MOST, "GiB; likewise.")
    gpu = _number(SIZE_MOST, "GPUs; likewise.")
    network_kind = forms.ChoiceField(
        label="Network",
        choices=[("open", "open"), ("none", "none"), ("listed", "only what is listed")],
        widget=UnfoldAdminSelectWidget(),
    )
    cidrs = _lines("IPv4 networks, as 10.0.0.0/8")
    domains = _lines("Domains, as pypi.org or *.example.com")
    repository_url = _text(URL_LENGTH, "Checked out before the setup, as https://git.example.com/team/app.git.")
    repository_ref = _text(REF_LENGTH, "A branch, a tag or a commit; empty: what the server says.")
    repository_path = _text(PATH_LENGTH, "A folder in the working folder; empty: that itself.")
    repository_depth = _number(DEPTH_MOST, "Commits of the history; 0: all; empty: 1.", 0)
    repository_before_lock = forms.BooleanField(
        required=False,
        widget=UnfoldBooleanSwitchWidget(),
        help_text='With the network "none": it is closed after checkout and setup, before the script.',
    )
    credential_username = _text(200, "With the token, for the repository's server; never shown again.")
    credential_token = forms.CharField(
        max_length=8000,
        required=False,
        strip=False,
        widget=UnfoldAdminPasswordWidget(attrs={"autocomplete": "new-password"}),
        help_text="Leave it empty to keep the present one.",
    )
    credential_hosts = _lines("All hosts that are given the credential, as git.example.com; empty: no credential")
    prepare = forms.CharField(
        max_length=SETUP_BYTES,
        required=False,
        strip=False,
        widget=UnfoldAdminTextareaWidget(attrs={"spellcheck": "false"}),
        help_text="A bash script that runs once for each version, in HOME; what it leaves becomes the snapshot that "
        "scripts start from.",
    )
    setup = forms.CharField(
        max_length=SETUP_BYTES,
        required=False,
        strip=False,
        widget=UnfoldAdminTextareaWidget(),
        help_text="A bash script that runs before each script, in its working folder and with its variables.",
    )
    setup_timeout_s = _number(DAY_S, "Seconds, for prepare, checkout and setup; empty: 600.")
    keeps_only = forms.BooleanField(
        required=False, widget=UnfoldBooleanSwitchWidget(), help_text="Keep only out/ and the files below."
    )
    keep = forms.CharField(
        required=False,
        widget=UnfoldAdminTextareaWidget(),
        help_text="Patterns of the files to keep, as dist/** or reports/*.xml, one a line.",
    )
    env = VariablesField(
        required=False,
        widget=UnfoldAdminTextareaWidget(),
        help_text='Variables of the script: {"CI": "1"}. Every operator reads them.',
    )
    secrets = VariablesField(
        required=False,
        widget=UnfoldAdminTextareaWidget(),
        help_text='Variables, and the names of their entries in the vault: {"NPM_TOKEN": "npm-read"}.',
    )
    any_host = _lines("Entries among these that have no hosts, and may be sent to any")
    volumes = VariablesField(
        required=False,
        widget=UnfoldAdminTextareaWidget(),
        help_text='[{"name": "caches", "mount_path": "/caches", "subpath": "tasks/{task}"}]: {task} gives each task a '
        "folder of its own; without a subpath all of them share the whole volume.",
    )
    timeout_s = _number(DAY_S, "Seconds, of an execution that names none.")
    timeout_max_s = _number(DAY_S, "The most seconds that an execution may ask for.")
    keep_sandbox_s = _number(7 * DAY_S, "Seconds for which a sandbox is kept after the end.", 0)
    verify = forms.CharField(
        max_length=VERIFY_BYTES,
        required=False,
        strip=False,
        widget=UnfoldAdminTextareaWidget(attrs={"spellcheck": "false"}),
        help_text="Script that checks the work of tasks in this environment, before their own.",
    )
    verify_policy = forms.ChoiceField(
        choices=VerifyPolicy.choices,
        required=False,
        widget=UnfoldAdminSelectWidget(),
        help_text="Required: a task is done only when its verification has passed.",
    )
    open_to_all = forms.BooleanField(
        required=False, initial=True, widget=UnfoldBooleanSwitchWidget(), help_text="Every account may use it."
    )
    accounts = _lines("Else the accounts that may use it")
    seen_version = forms.IntegerField(required=False, widget=forms.HiddenInput())
    look: Look = NO_LOOK
    """What the sandbox service has said of it."""

    class Meta:
        model = Environment
        fields = ["name"]

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.present = EnvironmentSpec()
        if not self.instance._state.adding:  # noqa: SLF001 - Django's documented name
            self.present = version_of(self.instance).spec
            self.initial.update(_initial(self.present), seen_version=self.instance.version)

    def clean(self) -> dict[str, Any]:
        cleaned: dict[str, Any] = super().clean() or {}
        if cleaned.get("seen_version") not in {None, self.instance.version}:
            # The form has every field, and would undo what another operator has changed.
            self.add_error(None, "It was changed meanwhile: open this page anew, and repeat your change.")
        if self.errors:
            return cleaned
        if not self._has_its_forms(cleaned):
            return cleaned
        cleaned["document"] = _document(cleaned)
        for name, words in self._refusals(cleaned).items():
            self.add_error(_SPELT_OTHERWISE.get(name, name), words)
        return cleaned

    def _refusals(self, cleaned: dict[str, Any]) -> dict[str, Any]:
        try:
            if "name" in cleaned:
                guard_name(cleaned["name"])
            document, _ = credential_apart(cleaned["document"], self.present.repository)
            self._spec = EnvironmentSpec.read(document)
            guard_spec(self._spec)
        except Invalid as refusal:
            return dict(refusal.details or {})
        return dict(self.look.refusals(self._spec, self.present))

    def draft(self) -> EnvironmentSpec | None:
        """What it would save; None where it is refused."""
        return self._spec if self.is_valid() else None

    def _has_its_forms(self, cleaned: dict[str, Any]) -> bool:
        """Of what was written as JSON; an empty field is an empty object, or list."""
        for name in ("env", "secrets"):
            cleaned[name] = cleaned[name] or {}
            if not _are_texts(cleaned[name]):
                self.add_error(name, "Must be an object whose values are strings.")
        cleaned["volumes"] = cleaned["volumes"] or []
        if not _are_volumes(cleaned["volumes"]):
            self.add_error("volumes", "Must be a list of objects with name, mount_path and, if you like, subpath.")
        return not self.errors


def _are_texts(value: Any) -> bool:
    return isinstance(value, dict) and all(isinstance(text, str) for text in value.values())


def _are_volumes(value: Any) -> bool:
    known, needed = {"name", "mount_path", "subpath"}, {"name", "mount_path"}
    return isinstance(value, list) and all(
        isinstance(each, dict) and needed <= each.keys() <= known and _are_texts(each) for each in value
    )


def _document(cleaned: dict[str, Any]) -> dict[str, Any]:
    lists = {name: cleaned[name].split() for name in _LINES}
    is_listed = cleaned["network_kind"] == "listed"
    patterns = [line.strip() for line in cleaned["keep"].splitlines() if line.strip()]
    return {
        **{name: cleaned[name] for name in ("description", "snapshot", "image", *SIZES)},
        "dockerfile": cleaned["dockerfile"].replace("\r\n", "\n"),
        **{name: cleaned[name] for name in ("timeout_s", "timeout_max_s", "keep_sandbox_s", "setup_timeout_s")},
        "repository": _repository(cleaned, lists["credential_hosts"]),
        "prepare": cleaned["prepare"].replace("\r\n", "\n"),
        "setup": cleaned["setup"].replace("\r\n", "\n"),
        "keep": patterns if cleaned["keeps_only"] else None,
        "network": {name: lists[name] for name in ("cidrs", "domains")} if is_listed else cleaned["network_kind"],
        **{name: cleaned[name] for name in ("env", "secrets", "volumes")},
        "any_host": lists["any_host"],
        "verify": cleaned["verify"].replace("\r\n", "\n"),
        "verify_policy": cleaned["verify_policy"] or VerifyPolicy.OFF.value,
        "allowed": None if cleaned["open_to_all"] else lists["accounts"],
    }


def _repository(cleaned: dict[str, Any], hosts: list[str]) -> dict[str, Any] | None:
    if not cleaned["repository_url"]:
        return None
    names = ("username", "token")
    credential = {"hosts": hosts, **{name: cleaned[f"credential_{name}"] for name in names}}
    given = {name: cleaned[f"repository_{name}"] for name in _REPOSITORY}
    return {**given, "credential": credential if any(credential.values()) else None}


def _initial(spec: EnvironmentSpec) -> dict[str, Any]:
    repository = spec.repository
    credential = repository.credential if repository is not None else None
    return {
        **spec.document(),
        **{f"repository_{name}": getattr(repository, name, None) for name in _REPOSITORY},
        "credential_hosts": "\n".join(credential.hosts if credential is not None else ()),
        "keeps_only": spec.keep is not None,
        "keep": "\n".join(spec.keep or ()),
        "network_kind": spec.network.kind,
        "cidrs": "\n".join(spec.network.cidrs),
        "domains": "\n".join(spec.network.domains),
        "open_to_all": spec.allowed is None,
        "accounts": "\n".join(spec.allowed or ()),
        "any_host": "\n".join(spec.any_host),
    }
