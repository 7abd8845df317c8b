"""`/api/`: the endpoints, and `/api/schema/`: the OpenAPI document."""

from __future__ import annotations

from typing import Any, ClassVar, Final

from drf_spectacular.renderers import OpenApiJsonRenderer2, OpenApiYamlRenderer2
from drf_spectacular.utils import extend_schema
from drf_spectacular.views import SpectacularAPIView
from rest_framework import serializers
from rest_framework.renderers import JSONRenderer
from rest_framework.request import Request
from rest_framework.response import Response
from rest_framework.views import APIView

from taskhub.api.fields import OneOfField
from taskhub.api.query import KnownQuery, QuerySerializer
from taskhub.api.routes import addresses

_DOCUMENTS: Final = {
    "openapi": "/api/schema/?format=json",
    "asyncapi": "/api/asyncapi.json",
    "docs": "/api/docs/",
    "streams": {
        "events": "/api/events/stream",
        "execution-log": "/api/exec/logs/{task_id}/stream",
        "sandbox": "/sse?sandboxId={sandboxId}",
    },
}


class RootSerializer(serializers.Serializer[Any]):
    """Where the documents, the streams and the endpoints are."""

    openapi = serializers.CharField()
    asyncapi = serializers.CharField()
    docs = serializers.CharField()
    streams = serializers.DictField(child=serializers.CharField())
    endpoints = serializers.ListField(child=serializers.CharField())


class RootView(KnownQuery, APIView):
    @extend_schema(operation_id="api_root", responses=RootSerializer)
    def get(self, request: Request) -> Response:  # noqa: ARG002 - DRF's interface
        """List the endpoints.

        The OpenAPI document says what each of them takes and answers.
        """
        return Response({**_DOCUMENTS, "endpoints": [f"/api/{address}/" for address in addresses()]})


class DocumentQuerySerializer(QuerySerializer):
    format = OneOfField(choices=["json", "yaml"], required=False)


class DocumentView(KnownQuery, SpectacularAPIView):
    """The OpenAPI document: YAML, or JSON for `?format=json` and `Accept: application/json`."""

    queries: ClassVar = {"get": DocumentQuerySerializer}
    _BY_FORMAT: ClassVar[dict[str, Any]] = {"json": OpenApiJsonRenderer2, "yaml": OpenApiYamlRenderer2}

    def perform_content_negotiation(self, request: Request, force: bool = False) -> Any:
        """`?format=` counts before the header."""
        renderer = self._BY_FORMAT.get(request.query_params.get("format", ""))
        if renderer is not None:
            return renderer(), renderer.media_type
        return super().perform_content_negotiation(request, force)

    @extend_schema(exclude=True)
    def get(self, request: Request, *args: Any, **kwargs: Any) -> Response:
        self.read_query(request)
        answer: Response = super().get(request, *args, **kwargs)  # type: ignore[no-untyped-call]  # the library has none
        return answer

    def handle_exception(self, exc: Exception) -> Response:
        """Errors are JSON, whatever the document would have been."""
        self.request.accepted_renderer = JSONRenderer()
        self.request.accepted_media_type = JSONRenderer.media_type
        answer: Response = super().handle_exception(exc)
        return answer
