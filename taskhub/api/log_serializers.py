"""Lines of an execution's log over REST, and what is asked of them."""

from __future__ import annotations

from typing import Any, Final

from rest_framework import serializers

from taskhub.api.fields import TextField
from taskhub.api.serializers import ExecutionQuerySerializer

_LOG_LINES: Final = 10_000


class LogLineSerializer(serializers.Serializer[Any]):
    """`partial`, only where it is true: the line has no end yet, and is replaced by the whole one of the same `n`."""

    n = serializers.IntegerField(help_text="From 1; the position in the log.")
    stream = serializers.ChoiceField(choices=["stdout", "stderr"])
    line = serializers.CharField()
    timestamp = serializers.DateTimeField()
    partial = serializers.BooleanField(  # type: ignore[assignment]  # a declared field; DRF's own is the instance's
        required=False, help_text="True for a line that has no end yet; else absent."
    )

    def to_representation(self, instance: Any) -> dict[str, Any]:
        shown: dict[str, Any] = super().to_representation(instance)
        if not shown["partial"]:
            del shown["partial"]
        return shown


class LogTailSerializer(serializers.Serializer[Any]):
    execution_id = serializers.UUIDField()
    status = serializers.CharField()
    log_file = serializers.CharField()
    lines = LogLineSerializer(many=True)
    next = serializers.IntegerField(
        allow_null=True, help_text="The `from` of what follows; null at the end of a finished log."
    )


class LogQuerySerializer(ExecutionQuerySerializer):
    """The last lines; or, with any of `from`, `limit` and `q`, lines in their order."""

    tail = serializers.IntegerField(
        min_value=1, max_value=_LOG_LINES, required=False, help_text="How many last lines: 100 unless it is given."
    )
    limit = serializers.IntegerField(
        min_value=1, max_value=_LOG_LINES, required=False, help_text="At most so many lines: 100 unless it is given."
    )
    q = TextField(
        required=False, max_length=200, trim_whitespace=False, help_text="Only lines with this text; case is ignored."
    )

    def get_fields(self) -> dict[str, Any]:
        fields: dict[str, Any] = super().get_fields()
        # A word of Python's.
        fields["from"] = serializers.IntegerField(
            min_value=1, max_value=10**9, required=False, help_text="The first line's number: 1 unless it is given."
        )
        return fields

    def validate(self, attrs: Any) -> Any:
        if "tail" in attrs and attrs.keys() & {"from", "limit", "q"}:
            raise serializers.ValidationError({"tail": ["Cannot be combined with from, limit or q."]})
        return attrs


class LogFoundSerializer(serializers.Serializer[Any]):
    execution_id = serializers.UUIDField()
    status = serializers.CharField()
    lines = serializers.IntegerField(help_text="How many lines the log has; of a running one, so far.")
    count = serializers.IntegerField(help_text="How many of the lines from `from` to before `next` match.")
    matches = serializers.ListField(
        child=serializers.IntegerField(), help_text="The numbers of the first ones, in order; at most `limit`."
    )
    next = serializers.IntegerField(allow_null=True, help_text="Where to search on; null at the end of a finished log.")


class LogSearchQuerySerializer(ExecutionQuerySerializer):
    """Lines with the text `q`; or those that look like an error, or are of stderr."""

    q = TextField(
        required=False,
        max_length=200,
        trim_whitespace=False,
        help_text="The text, for kind `text`. Case, accents and colours are ignored.",
    )
    kind = serializers.ChoiceField(
        choices=["text", "error", "stderr"],
        default="text",
        help_text="`error`: lines with words such as error, exception, failed, fatal, traceback.",
    )
    limit = serializers.IntegerField(
        min_value=1, max_value=_LOG_LINES, default=1000, help_text="At most so many numbers; all are counted."
    )

    def get_fields(self) -> dict[str, Any]:
        fields: dict[str, Any] = super().get_fields()
        # A word of Python's.
        fields["from"] = serializers.IntegerField(
            min_value=1, max_value=10**9, default=1, help_text="The first line that is looked at."
        )
        return fields

    def validate(self, attrs: Any) -> Any:
        if attrs["kind"] == "text" and not attrs.get("q"):
            raise serializers.ValidationError({"q": ["This parameter is required, unless kind is error or stderr."]})
        if attrs["kind"] != "text" and "q" in attrs:
            raise serializers.ValidationError({"q": ["Can be combined with kind=text only."]})
        return attrs
