"""Environments: what executions run in, written down once by an operator and used by its name."""

from __future__ import annotations

import json
import uuid
from dataclasses import asdict, dataclass, field, fields
from typing import Any, Final, Literal, get_args

from django.db import models

from taskhub.lib.encryption import Seal
from taskhub.models.evidence import VerifyPolicy

NAME_LENGTH: Final = 63
NO_ENVIRONMENT: Final = "none"
"""No environment has this name: with it an operator asks for none."""
NetworkKind = Literal["open", "none", "listed"]
NETWORK_KINDS: Final[tuple[NetworkKind, ...]] = get_args(NetworkKind)
SOURCES: Final = ("snapshot", "image", "dockerfile")
SIZES: Final = ("cpu", "memory", "disk", "gpu")
SETUP_TIMEOUT_S: Final = 600
"""Of a version that does not say it."""
DEPTH: Final = 1


_LISTS: Final = ("keep", "any_host", "allowed")
CREDENTIAL_SEAL: Final = Seal("taskhub.environments", "credential")


@dataclass(frozen=True, slots=True)
class Network:
    """What a sandbox may reach. `listed`: the IPv4 networks `cidrs` and the domains, and nothing else."""

    kind: NetworkKind = "open"
    cidrs: tuple[str, ...] = ()
    domains: tuple[str, ...] = ()

    @classmethod
    def read(cls, value: Any) -> Network:
        """From `open`, `none` or `{"cidrs": […], "domains": […]}`, as the API has it."""
        if isinstance(value, str):
            return cls("none" if value == "none" else "open")
        return cls("listed", tuple(value.get("cidrs", ())), tuple(value.get("domains", ())))

    def written(self) -> Any:
        if self.kind != "listed":
            return self.kind
        return {"cidrs": list(self.cidrs), "domains": list(self.domains)}


TASK_PLACE: Final = "{task}"
"""In a volume's subpath: the id of the task whose script runs."""


@dataclass(frozen=True, slots=True)
class Volume:
    """A volume of the sandbox service, by its name, and the folder of it that a sandbox has at `mount_path`.

    Without `subpath` it is all of the volume.
    """

    name: str
    mount_path: str
    subpath: str = ""


@dataclass(frozen=True, slots=True)
class CredentialFacts:
    """What a version says of a credential; user name and token are in `EnvironmentCredential`.

    `id` changes with them. `hosts` (`name`, or `name:port`) are all that it is given to.
    """

    id: str
    hosts: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Repository:
    """What is checked out before the setup. `ref`: a branch, a tag, a commit, or "" for the server's own choice.

    `path`: a folder in the working folder, "" for that itself. `depth`: commits of the history; 0: all; None: 1.
    `before_lock`: it is fetched, and the setup runs, while the network is open; then the network is closed.
    """

    url: str
    ref: str = ""
    path: str = ""
    depth: int | None = None
    before_lock: bool = False
    credential: CredentialFacts | None = None

    @classmethod
    def read(cls, document: dict[str, Any]) -> Repository:
        given = {name: value for name, value in document.items() if value is not None}
        if "credential" in given:
            facts = given["credential"]
            given["credential"] = CredentialFacts(facts["id"], tuple(facts["hosts"]))
        return cls(**given)

    def written(self) -> dict[str, Any]:
        written = asdict(self)
        if self.credential is not None:
            written["credential"] = {"id": self.credential.id, "hosts": list(self.credential.hosts)}
        return written


@dataclass(frozen=True, slots=True)
class EnvironmentSpec:
    """All that a version says. Empty texts and None: what the sandbox service, or the hub's settings, say.

    At most one of `snapshot`, `image` and `dockerfile`; sizes (CPUs, GiB of memory and disk, GPUs) only with one of
    the latter two. Times are in seconds. `prepare` and `setup` are bash scripts. `keep`: patterns of the files that are
    kept besides those in `out/`; None: all. `verify` is a script that checks the work of its tasks. `secrets`:
    variables, and the names of their entries in the sandbox service's vault; `any_host`: those of these entries that
    may be sent to any host. `allowed`: accounts that may use it; None: all.
    """

    description: str = ""
    snapshot: str = ""
    image: str = ""
    dockerfile: str = ""
    cpu: int | None = None
    memory: int | None = None
    disk: int | None = None
    gpu: int | None = None
    network: Network = field(default_factory=Network)
    repository: Repository | None = None
    prepare: str = ""
    setup: str = ""
    setup_timeout_s: int | None = None
    keep: tuple[str, ...] | None = None
    env: dict[str, str] = field(default_factory=dict, repr=False)
    secrets: dict[str, str] = field(default_factory=dict)
    any_host: tuple[str, ...] = ()
    volumes: tuple[Volume, ...] = ()
    timeout_s: int | None = None
    timeout_max_s: int | None = None
    keep_sandbox_s: int | None = None
    verify: str = ""
    verify_policy: str = VerifyPolicy.OFF.value
    allowed: tuple[str, ...] | None = None

    @classmethod
    def read(cls, document: dict[str, Any]) -> EnvironmentSpec:
        """From a version's `document`; null is as if it were left out.

        Fields that this release does not know are an error (TypeError), never ignored.
        """
        given = {name: value for name, value in document.items() if value is not None}
        if "network" in given:
            given["network"] = Network.read(given["network"])
        if "repository" in given:
            given["repository"] = Repository.read(given["repository"])
        for name in _LISTS:
            if name in given:
                given[name] = tuple(dict.fromkeys(given[name]))
        if "volumes" in given:
            given["volumes"] = tuple(Volume(**volume) for volume in given["volumes"])
        return cls(**given)

    def document(self) -> dict[str, Any]:
        """As the row and the API have it."""
        repository = self.repository.written() if self.repository is not None else None
        written = {**asdict(self), "network": self.network.written(), "repository": repository}
        lists = {**{name: getattr(self, name) for name in _LISTS}, "volumes": written["volumes"]}
        return {**written, **{name: None if value is None else list(value) for name, value in lists.items()}}

    @property
    def locks(self) -> bool:
        """The network is open for checkout and setup, and closed for the script."""
        return self.repository is not None and self.repository.before_lock

    @property
    def setup_limit_s(self) -> int:
        """Seconds for all that comes before the script: prepare, checkout and setup together."""
        return self.setup_timeout_s or SETUP_TIMEOUT_S

    @property
    def variables(self) -> list[str]:
        """The names of all that a script finds in its environment by it, sorted."""
        return sorted({**self.env, **self.secrets})


SPEC_FIELDS: Final = tuple(each.name for each in fields(EnvironmentSpec))


class Environment(models.Model):
    """A name, and who may use it. What it says is in its versions, of which `version` is the number of the last one.

    A deleted one keeps its row, for the executions that ran in it; its name is free again.
    """

    id = models.UUIDField(primary_key=True, default=uuid.uuid4, editable=False)
    name = models.CharField(max_length=NAME_LENGTH, help_text="Agents use it by this name; it never changes.")
    version = models.PositiveIntegerField(default=1, editable=False)
    open_to_all = models.BooleanField(default=True, help_text="Every account may use it.")
    created_by = models.CharField(max_length=150, blank=True, default="")
    created_at = models.DateTimeField(auto_now_add=True)
    updated_at = models.DateTimeField(auto_now=True)
    deleted_at = models.DateTimeField(null=True, editable=False)

    class Meta:
        ordering = ["name", "id"]
        constraints = [
            models.UniqueConstraint(
                fields=["name"], name="environment_name", condition=models.Q(deleted_at__isnull=True)
            )
        ]

    def __str__(self) -> str:
        return self.name


class EnvironmentAccount(models.Model):
    """An account that may use an environment that is not open to all."""

    environment = models.ForeignKey(Environment, on_delete=models.CASCADE, related_name="accounts")
    account = models.CharField(max_length=150)

    class Meta:
        constraints = [models.UniqueConstraint(fields=["environment", "account"], name="environment_account")]

    def __str__(self) -> str:
        return self.account


class EnvironmentCredential(models.Model):
    """What the repository's server is shown, encrypted. A new one replaces it, also for what is queued."""

    environment = models.OneToOneField(Environment, on_delete=models.CASCADE, related_name="credential")
    sealed = models.TextField(editable=False)
    made_at = models.DateTimeField(auto_now=True)

    def __str__(self) -> str:
        return f"the credential of {self.environment_id}"

    def opened(self) -> tuple[str, str, tuple[str, ...]]:
        """User name, token, and their hosts. Raises SealBroken."""
        username, token, hosts = json.loads(CREDENTIAL_SEAL.open(self.sealed))
        return username, token, tuple(hosts)


class EnvironmentVersion(models.Model):
    """What an environment said from one save to the next. Never changed and never deleted: executions point to it.

    `unchecked` is no part of what it says: a save that changes nothing asks again.
    `cpu`, `memory` and `disk` are no part of what it says: what the last sandbox made in it turned out to have, or
    before the first one, what the sandbox service says of its snapshot.
    """

    environment = models.ForeignKey(Environment, on_delete=models.PROTECT, related_name="versions")
    name = models.CharField(max_length=NAME_LENGTH)
    number = models.PositiveIntegerField()
    document = models.JSONField(help_text="An EnvironmentSpec.")
    unchecked = models.TextField(
        blank=True,
        default="",
        db_default="",
        help_text="What the sandbox service did not confirm of it when it was saved, and why.",
    )
    made_by = models.CharField(max_length=150, blank=True, default="")
    made_at = models.DateTimeField(auto_now_add=True)
    cpu = models.PositiveIntegerField(null=True, editable=False, help_text="CPUs. Empty: no sandbox was made in it.")
    memory = models.PositiveIntegerField(null=True, editable=False, help_text="GiB of memory, likewise.")
    disk = models.PositiveIntegerField(null=True, editable=False, help_text="GiB of disk, likewise.")

    class Meta:
        ordering = ["-id"]
        constraints = [models.UniqueConstraint(fields=["environment", "number"], name="environment_version")]

    def __str__(self) -> str:
        return f"{self.name} {self.number}"

    @property
    def spec(self) -> EnvironmentSpec:
        return EnvironmentSpec.read(self.document)
