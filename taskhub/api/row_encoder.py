"""JSON encoder of rows: from what the database's driver returns to the answer's text, without models.

To make a model of each row, with ids and times as objects, to take it apart again and to spell all of it is most of
what a list of many rows costs. Here the values of a column are spelled together. What has no short way is read as
Django reads it and spelled by REST's renderer. `tests/integration/test_row_encoder.py` compares with the bytes of the
serializer.
"""

from __future__ import annotations

import json
from collections import namedtuple
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from datetime import datetime
from functools import cache, lru_cache, partial
from json.encoder import encode_basestring
from typing import Any, Final, NamedTuple

from django.core.exceptions import EmptyResultSet
from django.db import connection
from django.db.models import (
    BooleanField,
    CharField,
    DateTimeField,
    Field,
    Func,
    IntegerField,
    JSONField,
    QuerySet,
    TextField,
    UUIDField,
)
from rest_framework.renderers import JSONRenderer

from taskhub.api.renderers import JsonText

Convert = Callable[[Any], Any]
_DIGITS: Final = 32
_SHORT: Final = 200
_DAY: Final = len("2026-11-28")
_SECONDS: Final = len("2026-11-28 04:05:06")
_WHOLE: Final = len("2026-11-28 04:05:06.123456")
_BOOLEANS: Final = {True: "true", False: "false"}


class Computed(NamedTuple):
    """A property of the model, and the columns that it looks at."""

    prop: property
    columns: tuple[str, ...]


class _Column(NamedTuple):
    """`read` makes the value of what the driver returns, `spell` its JSON; None where it is that already.

    `quoted`: the value is text that needs nothing but quotes.
    """

    read: Convert | None
    spell: Convert | None
    quoted: bool = False


class RowEncoder:
    """Encodes rows as objects with these fields.

    A field is a column of the queryset's model or one of `computed`; those of `empty_is_null` are null where empty.
    """

    def __init__(
        self,
        fields: Sequence[str],
        *,
        computed: Mapping[str, Computed],
        empty_is_null: Iterable[str] = (),
    ) -> None:
        self._fields = tuple(fields)
        self._computed = {name: how for name, how in computed.items() if name in self._fields}
        self._empty_is_null = frozenset(empty_is_null)
        needed = [name for name in self._fields if name not in self._computed]
        for how in self._computed.values():
            needed += how.columns
        self._columns = tuple(dict.fromkeys(needed))

    def read(self, rows: QuerySet[Any], keys: tuple[str, ...] = ()) -> list[Any]:
        """Named tuples of `keys`, which are columns or annotations, and `text`, the row's JSON. One query."""
        names = tuple(dict.fromkeys((*self._columns, *keys)))
        compiler = rows.values_list(*self._selected(rows, names)).query.get_compiler(connection=connection)
        try:
            sql, parameters = compiler.as_sql()
        except EmptyResultSet:  # such as `ids=` of nothing
            return []
        with connection.cursor() as cursor:
            _take_texts(cursor)
            cursor.execute(sql, parameters)
            found = cursor.fetchall()
        if not found:
            return []
        kinds = dict(zip(names, _columns_of(compiler), strict=True))
        values = {
            name: column if (read := kinds[name].read) is None else list(map(read, column))
            for name, column in zip(names, zip(*found, strict=True), strict=True)
        }
        texts = self._texts(values, kinds)
        return list(map(_tuple((*keys, "text"))._make, zip(*(values[key] for key in keys), texts, strict=True)))

    @staticmethod
    def _selected(rows: QuerySet[Any], names: Iterable[str]) -> list[Any]:
        """Times as SQLite keeps them: of a plain column its driver would make objects, by a function in Python."""
        if connection.vendor != "sqlite":
            return list(names)
        fields = {field.name: field for field in rows.model._meta.concrete_fields}  # noqa: SLF001 - Django's documented name
        return [_AsKept(name) if isinstance(fields.get(name), DateTimeField) else name for name in names]

    def _texts(self, values: Mapping[str, Sequence[Any]], kinds: Mapping[str, _Column]) -> Iterator[str]:
        spelled = [self._spelled(name, values, kinds.get(name)) for name in self._fields]
        quoted = {name for name in self._fields if name in kinds and kinds[name].quoted}
        members = (f'"{name}":"%s"' if name in quoted else f'"{name}":%s' for name in self._fields)
        template = f"{{{','.join(members)}}}"
        return map(template.__mod__, zip(*spelled, strict=True))

    def _spelled(self, name: str, values: Mapping[str, Sequence[Any]], kind: _Column | None) -> Iterable[Any]:
        if kind is None:
            how = self._computed[name]
            return map(partial(_compute, how), *(values[each] for each in how.columns))
        if name in self._empty_is_null:
            return map(_spell_or_null, values[name])
        return values[name] if kind.spell is None else map(kind.spell, values[name])


class _AsKept(Func):
    """A time as text."""

    template = "CAST(%(expressions)s AS text)"

    def _resolve_output_field(self) -> Field[Any, Any]:
        return self.get_source_expressions()[0].output_field  # type: ignore[no-any-return]  # Django's are not typed


@cache
def _tuple(names: tuple[str, ...]) -> Any:
    return namedtuple("Row", names)  # noqa: PYI024 - its fields are given


def encoded_list(rows: Iterable[Any]) -> JsonText:
    """What `read` returned, as a JSON list for a response."""
    return JsonText(f"[{','.join([row.text for row in rows])}]")


def _columns_of(compiler: Any) -> Iterator[_Column]:
    expressions = [expression for expression, *_ in compiler.select]
    short = [_short_way(expression.output_field) for expression in expressions]
    usual = compiler.get_converters([None if way else each for way, each in zip(short, expressions, strict=True)])
    for place, column in enumerate(short):
        yield column or _Column(_as_django_does(*usual[place]) if place in usual else None, _spell)


def _short_way(field: Field[Any, Any]) -> _Column | None:
    """None for what may be null, and for a field that may read in a way of its own."""
    if field.null or not type(field).__module__.startswith("django.db.models."):
        return None
    if getattr(field, "decoder", None) is not None:
        return None
    return next((column for kind, column in _SHORT_WAYS if isinstance(field, kind)), None)


def _as_django_does(converters: Sequence[Callable[..., Any]], expression: Any) -> Convert:
    def convert(value: Any) -> Any:
        for each in converters:
            value = each(value, expression, connection)
        return value

    return convert


def _spell(value: Any) -> str:
    text: bytes = JSONRenderer().render([value])
    return text[1:-1].decode()


@lru_cache(maxsize=4096, typed=True)
def _compute(how: Computed, *values: Any) -> str:
    """JSON of the property of a row that has these values in its columns. Most rows are alike in them."""
    return _spell(how.prop.__get__(_tuple(how.columns)(*values)))


def _spell_or_null(value: str) -> str:
    return encode_basestring(value) if value else "null"


def _take_texts(cursor: Any) -> None:
    """Ids and times as PostgreSQL spells them: its driver would make objects of them."""
    if connection.vendor == "postgresql":
        from psycopg.types.string import TextLoader  # noqa: PLC0415 - not loaded where SQLite is used

        for name in ("uuid", "timestamptz"):
            cursor.adapters.register_loader(name, TextLoader)


def _id(value: str) -> str:
    """PostgreSQL spells it as REST does; SQLite keeps 32 digits."""
    if len(value) > _DIGITS:
        return value
    return f"{value[:8]}-{value[8:12]}-{value[12:16]}-{value[16:20]}-{value[20:]}"


def _time(value: datetime | str) -> str:
    """As REST spells it. All are UTC; those of SQLite do not say so."""
    if isinstance(value, str):
        whole = value.removesuffix("+00")
        # PostgreSQL leaves zeros at the end of a second out, REST does not.
        if len(whole) == _WHOLE or len(value) == _SECONDS:
            return f"{whole[:_DAY]}T{whole[_DAY + 1 :]}Z"
    time = value if isinstance(value, datetime) else datetime.fromisoformat(value)
    text = time.isoformat()
    if time.tzinfo is None:
        return f"{text}Z"
    return f"{text[:-6]}Z" if text.endswith("+00:00") else text


def _json(text: str) -> str:
    """Of what the database keeps, with REST's blanks and letters. Lists of few words, as of tags, come again."""
    return _short_json(text) if len(text) < _SHORT else _spell(json.loads(text))


@lru_cache(maxsize=4096)
def _short_json(text: str) -> str:
    return _spell(json.loads(text))


_SHORT_WAYS: Final[tuple[tuple[type[Field[Any, Any]], _Column], ...]] = (
    (UUIDField, _Column(_id, None, quoted=True)),
    (DateTimeField, _Column(_time, None, quoted=True)),
    (BooleanField, _Column(None, _BOOLEANS.__getitem__)),
    (JSONField, _Column(None, _json)),
    (IntegerField, _Column(None, None)),
    (CharField, _Column(None, encode_basestring)),
    (TextField, _Column(None, encode_basestring)),
)
