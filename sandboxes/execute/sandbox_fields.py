"""Creation fields: an environment as Daytona's `POST /sandbox` has it."""

from __future__ import annotations

from typing import Any

from taskhub.models.environment import SIZES, EnvironmentSpec, Network


def sandbox_fields(spec: EnvironmentSpec | None) -> dict[str, Any]:
    """Only what the environment says: Daytona refuses even a default size beside a snapshot.

    Values of `env` are not among them: what is in the request of creation can be read in the sandbox service for as
    long as the sandbox lives.
    """
    if spec is None:
        return {}
    sizes = {name: getattr(spec, name) for name in SIZES if getattr(spec, name) is not None}
    # Daytona takes GPUs only for sandboxes that it deletes when they are stopped.
    ephemeral = {"autoDeleteInterval": 0} if spec.gpu else {}
    network = {} if spec.locks else _network(spec.network)  # closed after checkout and setup
    return {**_source(spec), **sizes, **ephemeral, **network}


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
