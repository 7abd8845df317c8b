"""Compiled SQL: statements about one row whose SQL Django builds once.

Building the SQL is three quarters of the cost of a statement about one row. The statements are those of the ORM:
queries are querysets, and fields prepare and convert the values. No signals are sent.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import cache, cached_property
from typing import Any, Final, Generic, NamedTuple, TypeVar

from django.db import connection
from django.db.models import Field, Model, QuerySet, Value

M = TypeVar("M", bound=Model)
AnyField = Field[Any, Any]


class _Given(str):
    """Told apart from any other empty text by what it is, not by what it says."""

    __slots__ = ()


GIVEN: Final = Value(_Given())
"""Placeholder in a queryset for the value that is passed at each call."""


class Lookup:
    """The rows of `queryset` as lists of values. GIVEN stands in it for a value of the type of `field`."""

    def __init__(self, queryset: QuerySet[Any, Any], field: AnyField) -> None:
        self._queryset = queryset
        self._field = field

    def rows(self, value: Any) -> list[list[Any]]:
        sql, parameters, columns, converters = self._compiled
        given = self._field.get_db_prep_value(value, connection)
        with connection.cursor() as cursor:
            cursor.execute(sql, [given if isinstance(each, _Given) else each for each in parameters])
            found = [list(row) for row in cursor.fetchall()]
        for row in found:
            for place, convert in converters:
                row[place] = convert(row[place], columns[place], connection)
        return found

    @cached_property
    def columns(self) -> list[str]:
        """Attribute names, in the order of the values."""
        return [column.target.attname for column in self._compiled.columns]

    @cached_property
    def _compiled(self) -> _Compiled:
        compiler = self._queryset.query.get_compiler(connection=connection)
        sql, parameters = compiler.as_sql()
        columns = [column for column, *_ in compiler.select]
        by_place = compiler.get_converters(columns)
        converters = [(place, convert) for place, (found, _) in by_place.items() for convert in found]
        return _Compiled(sql, parameters, columns, converters)


class _Compiled(NamedTuple):
    sql: str
    parameters: Sequence[Any]
    columns: list[Any]
    converters: list[tuple[int, Callable[..., Any]]]


class OneRow(Generic[M]):
    """The row of `queryset` as its model."""

    def __init__(self, queryset: QuerySet[M], field: AnyField) -> None:
        self._model = queryset.model
        self._lookup = Lookup(queryset.order_by(), field)

    def find(self, value: Any) -> M | None:
        rows = self._lookup.rows(value)
        return self._model.from_db(connection.alias, self._lookup.columns, rows[0]) if rows else None


def insert(row: Model) -> None:
    """Insert a row whose key the database generates; `row.pk` is not set."""
    sql, fields = _insert(type(row))
    _write(sql, fields, row, add=True)


def update(row: Model, names: tuple[str, ...]) -> None:
    """Write the named fields of an existing row, which the caller has locked."""
    sql, fields = _update(type(row), names)
    _write(sql, fields, row, add=False)


def _write(sql: str, fields: list[AnyField], row: Model, *, add: bool) -> None:
    values = [field.get_db_prep_save(field.pre_save(row, add=add), connection) for field in fields]
    with connection.cursor() as cursor:
        cursor.execute(sql, values)


@cache
def _insert(model: type[Model]) -> tuple[str, list[AnyField]]:
    fields = [field for field in _fields(model) if not field.primary_key]
    columns = ", ".join(map(_column, fields))
    places = ", ".join(["%s"] * len(fields))
    return f"INSERT INTO {_table(model)} ({columns}) VALUES ({places})", fields  # noqa: S608 - the models' own names


@cache
def _update(model: type[Model], names: tuple[str, ...]) -> tuple[str, list[AnyField]]:
    """The key comes last, as it does in the statement."""
    fields = [field for field in _fields(model) if field.name in names]
    (key,) = (field for field in _fields(model) if field.primary_key)
    places = ", ".join(f"{_column(field)} = %s" for field in fields)
    return f"UPDATE {_table(model)} SET {places} WHERE {_column(key)} = %s", [*fields, key]  # noqa: S608 - likewise


def _fields(model: type[Model]) -> list[AnyField]:
    return list(model._meta.concrete_fields)  # noqa: SLF001 - Django's documented name


def _table(model: type[Model]) -> str:
    return connection.ops.quote_name(model._meta.db_table)  # noqa: SLF001 - likewise


def _column(field: AnyField) -> str:
    return connection.ops.quote_name(field.db_column or field.attname)
