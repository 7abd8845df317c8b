"""Files that a request gives to an execution."""

from __future__ import annotations

from typing import Any

from rest_framework import serializers

from taskhub.api.fields import IdField, StrictSerializer, TextField
from taskhub.executions.file_paths import PATH_BYTES
from taskhub.services.execution_inputs import Given


class GivenFileSerializer(StrictSerializer):
    """A file in the working folder when the script starts: a `text`, or what another execution left.

    `source_path` is its path there, the same unless it is given.
    """

    path = TextField(max_length=PATH_BYTES, trim_whitespace=False)
    text = TextField(required=False, allow_blank=True, trim_whitespace=False, max_length=None)
    execution_id = IdField(required=False)
    source_path = TextField(required=False, max_length=PATH_BYTES, trim_whitespace=False)

    def validate(self, attrs: Any) -> Any:
        if ("text" in attrs) == ("execution_id" in attrs) or ("source_path" in attrs and "execution_id" not in attrs):
            raise serializers.ValidationError({"text": ["Give a text, or the execution_id of one that left the file."]})
        return Given(**attrs)
