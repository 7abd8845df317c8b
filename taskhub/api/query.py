"""Query parameters: unknown ones are refused, and the refusal names the known ones."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any, ClassVar, Final

from django.http import QueryDict
from rest_framework import serializers
from rest_framework.request import Request

from taskhub.errors import Invalid
from taskhub.lib.query_values import unknown_parameters

_READING: Final = frozenset({"GET", "HEAD"})


def guard_query(query: QueryDict | Mapping[str, Any], known: Iterable[str]) -> None:
    """Raises Invalid, naming each unknown parameter and those there are."""
    if wrong := unknown_parameters(query, known):
        names = ", ".join(sorted(wrong))
        raise Invalid(f"Unknown query parameter: {names}. details names the known ones.", details=wrong)


class QuerySerializer(serializers.Serializer[Any]):
    """The query parameters of an endpoint, for `KnownQuery.queries`."""


class KnownQuery:
    """For API views: `queries` maps a method or a view set's action to the serializer of its query parameters.

    A list also takes what its filters, its order and its pages take. Anything else is a 400.
    """

    queries: ClassVar[Mapping[str, type[QuerySerializer]]] = {}

    def initial(self, request: Request, *args: Any, **kwargs: Any) -> None:
        """DRF's hook before the handler: the caller is known and may do this."""
        super().initial(request, *args, **kwargs)  # type: ignore[misc]  # of the view this is mixed into
        # A method that is not there is a 405, whatever its query.
        if request.method != "OPTIONS" and hasattr(self, str(request.method).lower()):
            guard_query(request.query_params, self.known_parameters(request))

    def known_parameters(self, request: Request) -> list[str]:
        known = list(getattr(self._query_serializer(request)(), "fields", {}))
        if request.method in _READING and getattr(self, "action", "list") == "list":
            known += _list_parameters(self)
        return known

    def read_query(self, request: Request) -> dict[str, Any]:
        """The validated parameters of this endpoint. Raises ValidationError."""
        query = self._query_serializer(request)(data=request.query_params.dict())
        query.is_valid(raise_exception=True)
        return dict(query.validated_data)

    def _query_serializer(self, request: Request) -> type[QuerySerializer]:
        method = str(request.method).lower().replace("head", "get")
        return self.queries.get(getattr(self, "action", None) or method, QuerySerializer)


def _list_parameters(view: Any) -> list[str]:
    filters = getattr(view, "filterset_class", None)
    known = list(filters.base_filters) if filters is not None else []
    known += ["ordering"] if getattr(view, "orderings", None) else []
    pages = getattr(view, "pagination_class", None) if hasattr(view, "paginate_queryset") else None
    return known + ([pages.cursor_query_param, pages.page_size_query_param] if pages is not None else [])
