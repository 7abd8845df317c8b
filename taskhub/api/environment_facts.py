"""What everyone sees of an environment who sees an execution in it; the rest is for operators."""

from __future__ import annotations

from typing import Any

from rest_framework import serializers

from taskhub.models import EnvironmentSpec, EnvironmentVersion
from taskhub.models.environment import NETWORK_KINDS, SIZES

_LIMITS = ("setup_timeout_s", "timeout_s", "timeout_max_s", "keep_sandbox_s")


def facts_of(spec: EnvironmentSpec) -> dict[str, Any]:
    return {
        **{name: getattr(spec, name) for name in (*SIZES, *_LIMITS)},
        "network_kind": spec.network.kind,
        "variables": spec.variables,
    }


class EnvironmentOfExecutionSerializer(serializers.Serializer[Any]):
    """The environment's version that an execution was queued with."""

    name = serializers.CharField()
    version = serializers.IntegerField(source="number")


class EnvironmentFactsSerializer(EnvironmentOfExecutionSerializer):
    """Likewise, with its sizes (CPUs, GiB, GPUs), kind of network, limits (s), and the names of its variables.

    A null size or limit is not the environment's: the sandbox service, or the hub's settings, have it.
    """

    cpu = serializers.IntegerField(allow_null=True)
    memory = serializers.IntegerField(allow_null=True)
    disk = serializers.IntegerField(allow_null=True)
    gpu = serializers.IntegerField(allow_null=True)
    network_kind = serializers.ChoiceField(choices=NETWORK_KINDS)
    variables = serializers.ListField(child=serializers.CharField())
    setup_timeout_s = serializers.IntegerField(allow_null=True)
    timeout_s = serializers.IntegerField(allow_null=True)
    timeout_max_s = serializers.IntegerField(allow_null=True)
    keep_sandbox_s = serializers.IntegerField(allow_null=True)

    def to_representation(self, instance: EnvironmentVersion) -> dict[str, Any]:
        facts = {"name": instance.name, "number": instance.number, **facts_of(instance.spec)}
        shown: dict[str, Any] = super().to_representation(facts)
        return shown
