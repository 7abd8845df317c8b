"""The snapshot that an environment's prepare is kept as, for operators."""

from __future__ import annotations

from typing import Any

from drf_spectacular.utils import extend_schema_field
from rest_framework import serializers

from taskhub.models import PreparedSnapshot, PreparedState


class PreparedErrorSerializer(serializers.Serializer[Any]):
    code = serializers.CharField()
    message = serializers.CharField()
    log_tail = serializers.CharField(help_text="Last lines of prepare, or the sandbox service's own words.")


class PreparedSerializer(serializers.Serializer[PreparedSnapshot]):
    """Where it is not `active`, executions run prepare themselves and do not wait.

    `error`: why it has failed (`failed`), or why it is not made now and tried again (any other state).
    """

    snapshot = serializers.CharField(source="name", help_text="Its name at the sandbox service.")
    state = serializers.ChoiceField(choices=PreparedState.values)
    since = serializers.DateTimeField(help_text="When it came into this state.")
    error = serializers.SerializerMethodField()

    @extend_schema_field(PreparedErrorSerializer(allow_null=True))
    def get_error(self, row: PreparedSnapshot) -> dict[str, str] | None:
        if not row.error_code:
            return None
        return {"code": row.error_code, "message": row.error_message, "log_tail": row.log_tail}
