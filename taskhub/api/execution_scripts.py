"""An execution with its script, its variables, and more of its environment."""

from __future__ import annotations

from typing import Any

from drf_spectacular.utils import extend_schema_field
from rest_framework import serializers

from taskhub.api.environment_facts import EnvironmentFactsSerializer
from taskhub.api.serializers import ExecutionSerializer
from taskhub.models import Execution


class VariableSerializer(serializers.Serializer[Any]):
    """A variable that the request for an execution gave. No answer has its value."""

    name = serializers.CharField()
    secret = serializers.BooleanField()


class ExecutionWithScriptSerializer(ExecutionSerializer):
    """Likewise, with the script that was, or is to be, run, and more of its environment.

    `variables`: those that the request gave beside the environment's; null where that is not known any more.
    `error_detail`: the sandbox service's own words, as the end of a build's log; null for all but operators.
    """

    environment = EnvironmentFactsSerializer(allow_null=True, read_only=True)
    variables = serializers.SerializerMethodField()
    error_detail = serializers.SerializerMethodField()

    class Meta(ExecutionSerializer.Meta):
        fields = [*ExecutionSerializer.Meta.fields, "script", "variables", "error_detail"]

    @extend_schema_field(VariableSerializer(many=True, allow_null=True))
    def get_variables(self, execution: Execution) -> list[dict[str, Any]] | None:
        if execution.variables is None:
            return None
        return [{"name": name, "secret": secret} for name, secret in sorted(execution.variables.items())]

    def get_error_detail(self, execution: Execution) -> str | None:
        return execution.error_detail or None
