"""Creation fields: an environment as Daytona's `POST /sandbox` has it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any
from uuid import UUID

from taskhub.models.environment import SIZES, TASK_PLACE, EnvironmentSpec, Network


def sandbox_fields(
    spec: EnvironmentSpec | None,
    *,
    volume_ids: Mapping[str, str] | None = None,
    task_id: UUID | None = None,
    prepared: str = "",
) -> dict[str, Any]:
    """Only what the environment says: Daytona refuses even a default size beside a snapshot.

    `volume_ids` are those of the environment's volumes, by name; `task_id` goes into their subpaths. `prepared`: a
    snapshot of a sandbox of this environment, in the place of what that was made from, sizes included.

    Values of `env` are not among them: what is in the request of creation can be read in the sandbox service for as
    long as the sandbox lives.
    """
    if spec is None:
        return {}
    sizes = {name: getattr(spec, name) for name in SIZES if getattr(spec, name) is not None and not prepared}
    # Daytona takes GPUs only for sandboxes that it deletes when they are stopped.
    ephemeral = {"autoDeleteInterval": 0} if spec.gpu else {}
    network = {} if spec.locks else _network(spec.network)  # closed after checkout and setup
    # One entry for each variable, as in Daytona's own document.
    secrets = {"secrets": [{variable: name} for variable, name in spec.secrets.items()]} if spec.secrets else {}
    mounted = {"volumes": _volumes(spec, volume_ids or {}, task_id)} if spec.volumes else {}
    source = {"snapshot": prepared} if prepared else _source(spec)
    return {**source, **sizes, **ephemeral, **network, **secrets, **mounted}


def _volumes(spec: EnvironmentSpec, ids: Mapping[str, str], task_id: UUID | None) -> list[dict[str, str]]:
    """A task that was deleted meanwhile leaves its folder empty, not another one open."""
    return [
        {
            "volumeId": ids.get(volume.name, volume.name),
            "mountPath": volume.mount_path,
            **({"subpath": volume.subpath.replace(TASK_PLACE, str(task_id or "deleted"))} if volume.subpath else {}),
        }
        for volume in spec.volumes
    ]


def _source(spec: EnvironmentSpec) -> dict[str, Any]:
    if spec.snapshot:
        return {"snapshot": spec.snapshot}
    dockerfile = spec.dockerfile or (f"FROM {spec.image}\n" if spec.image else "")
    return {"buildInfo": {"dockerfileContent": dockerfile}} if dockerfile else {}


def _network(network: Network) -> dict[str, Any]:
    """A list and `networkBlockAll` exclude each other at Daytona."""
    if network.kind == "none":
        return {"networkBlockAll": True}
    lists = {"networkAllowList": network.cidrs, "domainAllowList": network.domains}
    return {name: ",".join(entries) for name, entries in lists.items() if entries}
