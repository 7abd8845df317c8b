"""An environment's repository, and its credential, as REST has them."""

from __future__ import annotations

import re
from typing import Any, Final

from rest_framework import serializers

from taskhub.api.fields import ShortListField, StrictBooleanField, StrictSerializer, TextField
from taskhub.services.environment_repositories import DEPTH_MOST, HOSTS_MOST, PATH_LENGTH, REF_LENGTH, URL_LENGTH

_LINE_END: Final = re.compile("[\0\r\n]")


class CredentialSerializer(StrictSerializer):
    """User name and token are never shown. Without both, the hosts stand for the credential that there is."""

    username = TextField(max_length=200, required=False, write_only=True)
    token = TextField(max_length=8000, required=False, write_only=True, trim_whitespace=False)
    hosts = ShortListField(
        child=TextField(max_length=260),
        max_length=HOSTS_MOST,
        min_length=1,
        help_text="No other host is given it: `name`, or `name:port`.",
    )

    def validate(self, attrs: Any) -> Any:
        for name in ("username", "token"):
            if _LINE_END.search(attrs.get(name, "")):
                raise serializers.ValidationError({name: ["Must be one line."]})
        return attrs


class RepositorySerializer(StrictSerializer):
    """What is checked out before the setup."""

    url = TextField(max_length=URL_LENGTH, help_text="Of https, http or git, without user name and token.")
    ref = TextField(
        max_length=REF_LENGTH,
        allow_blank=True,
        allow_null=True,
        required=False,
        help_text="A branch, a tag or a commit; empty: what the server says.",
    )
    path = TextField(
        max_length=PATH_LENGTH,
        allow_blank=True,
        allow_null=True,
        required=False,
        help_text="A folder in the working folder; empty: that itself.",
    )
    depth = serializers.IntegerField(
        min_value=0,
        max_value=DEPTH_MOST,
        allow_null=True,
        required=False,
        help_text="Commits of the history; 0: all; null: 1.",
    )
    before_lock = StrictBooleanField(
        required=False, help_text="With network none: it is closed after checkout and setup, before the script."
    )
    credential = CredentialSerializer(allow_null=True, required=False)
