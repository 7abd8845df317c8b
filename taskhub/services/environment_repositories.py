"""Repositories of environments: validation, and the credential, which is kept encrypted and never shown."""

from __future__ import annotations

import json
import re
import uuid
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Final
from urllib.parse import urlsplit

from taskhub.errors import Invalid
from taskhub.executions.file_paths import is_inside
from taskhub.models import ACTIVE_STATUSES, Environment, EnvironmentCredential, Execution
from taskhub.models.environment import CREDENTIAL_SEAL, CredentialFacts, Network, Repository

HOSTS_MOST: Final = 10
DEPTH_MOST: Final = 1_000_000
URL_LENGTH: Final = 500
REF_LENGTH: Final = 200
PATH_LENGTH: Final = 200
_HOST: Final = re.compile(r"[a-z0-9](?:[a-z0-9.\-]*[a-z0-9])?(?::[0-9]{1,5})?\Z")
_URL: Final = re.compile(r"(?:https?|git)://[^\s\0-\x20\x7f\"'\\<>@?#]+/[^\s\0-\x20\x7f\"'\\<>?#]+\Z")
_REF: Final = re.compile(r"(?!-|/|@\Z)(?!.*(?:\.\.|@\{|//))[^\s\0-\x20\x7f~^:?*\[\\]+(?<![./])\Z")
_PATH: Final = re.compile("[^\0-\x1f\x7f\ud800-\udfff]+\\Z")
_LOOPBACK: Final = frozenset({"127.0.0.1", "localhost"})


@dataclass(frozen=True, slots=True)
class GivenCredential:
    """User name and token for the hosts of a new version's repository."""

    username: str
    token: str = field(repr=False)
    hosts: tuple[str, ...]


def wrong_repository(repository: Repository, network: Network) -> dict[str, str]:
    """Words for each wrong field of the environment."""
    if words := _wrong(repository):
        return {"repository": words}
    if repository.before_lock and network.kind != "none":
        return {"repository": 'before_lock needs the network "none": it is what is closed then.'}
    if network.kind == "none" and not repository.before_lock:
        words = (
            "A sandbox without a network cannot fetch the repository; before_lock closes it after checkout and setup."
        )
        return {"network": words}
    return {}


def _wrong(repository: Repository) -> str:
    if len(repository.url) > URL_LENGTH or not _URL.match(repository.url) or not _can_be_split(repository.url):
        return (
            "url must be an address of https, http or git with a path, as https://git.example.com/team/app.git, "
            "without user name and token: these are the credential's."
        )
    if repository.ref and (len(repository.ref) > REF_LENGTH or not _REF.match(repository.ref)):
        return "ref must be a branch, a tag or a commit."
    if repository.path and not _is_folder(repository.path):
        return "path must be a folder in the working folder: relative, without . and .., and not .git."
    return _wrong_credential(repository, repository.credential) if repository.credential is not None else ""


def _can_be_split(url: str) -> bool:
    """False for a host in brackets that is no address, or with a character that stands for others."""
    try:
        urlsplit(url)
    except ValueError:
        return False
    return True


def _is_folder(path: str) -> bool:
    is_path = len(path) <= PATH_LENGTH and is_inside(path) and _PATH.match(path)
    return bool(is_path) and ".git" not in path.lower().split("/")


def _wrong_credential(repository: Repository, credential: CredentialFacts) -> str:
    address = urlsplit(repository.url)
    if not 1 <= len(credential.hosts) <= HOSTS_MOST or not all(map(_HOST.match, credential.hosts)):
        return (
            f"credential.hosts must be 1 to {HOSTS_MOST} hosts in lower case, as git.example.com or example.com:8443."
        )
    if address.netloc.lower() not in credential.hosts:
        return "credential.hosts must have the host of url."
    if address.scheme != "https" and not (address.scheme == "http" and address.hostname in _LOOPBACK):
        return "A credential needs an address of https: it would be readable on its way."
    return ""


def credential_apart(
    fields: Mapping[str, Any], before: Repository | None
) -> tuple[dict[str, Any], GivenCredential | None]:
    """The fields as a version has them, and the credential that was given with the repository.

    Hosts alone, without user name and token, stand for the credential that there is. Raises Invalid where there is none
    for these hosts.
    """
    repository = fields.get("repository")
    credential = repository.get("credential") if repository else None
    if repository is None or not credential or "id" in credential:
        return dict(fields), None
    hosts = tuple(dict.fromkeys(credential["hosts"]))
    token, username = credential.get("token") or "", credential.get("username") or ""
    present = before.credential if before is not None else None
    if token and username:
        facts, given = {"id": str(uuid.uuid4()), "hosts": list(hosts)}, GivenCredential(username, token, hosts)
    elif token or username or present is None or set(hosts) != set(present.hosts):
        # Else an account that may change an environment could have the token sent to a host of theirs.
        words = "credential needs username and token; without both, hosts must be those that it has."
        raise Invalid("The environment cannot be saved like this.", details={"repository": [words]})
    else:
        facts, given = {"id": present.id, "hosts": list(present.hosts)}, None
    return {**fields, "repository": {**repository, "credential": facts}}, given


def credential_save(environment: Environment, repository: Repository | None, given: GivenCredential | None) -> None:
    """Part of the transaction that saves the version."""
    if given is not None:
        sealed = CREDENTIAL_SEAL.close(json.dumps([given.username, given.token, given.hosts]))
        EnvironmentCredential.objects.update_or_create(environment=environment, defaults={"sealed": sealed})
    elif repository is None or repository.credential is None:
        credentials_trim(environment)


def credentials_trim(environment: Environment | None = None) -> int:
    """Delete what no version and no active execution needs any more; returns how many.

    Of all environments that are deleted or whose repository has none now, or of the given one, which has none now.
    """
    active = Execution.objects.filter(status__in=ACTIVE_STATUSES, environment__isnull=False)
    needed = set(active.values_list("environment__environment_id", flat=True))
    rows = EnvironmentCredential.objects.select_related("environment")
    deleted = 0
    for row in rows if environment is None else rows.filter(environment=environment):
        of = row.environment
        if of.pk in needed or (environment is None and of.deleted_at is None and _has_credential(of)):
            continue
        # One that was given anew meanwhile is another.
        deleted += EnvironmentCredential.objects.filter(pk=row.pk, sealed=row.sealed).delete()[0]
    return deleted


def _has_credential(environment: Environment) -> bool:
    repository = environment.versions.get(number=environment.version).spec.repository
    return repository is not None and repository.credential is not None
