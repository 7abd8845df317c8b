"""One async view of a bare Django: what Django and the server cost a connection that is answered."""

from __future__ import annotations

from django.conf import settings
from django.core.asgi import get_asgi_application
from django.http import HttpRequest, HttpResponse
from django.urls import path

settings.configure(ROOT_URLCONF=__name__, ALLOWED_HOSTS=["*"], SECRET_KEY="only-for-benchmarks", MIDDLEWARE=[])


async def hello(request: HttpRequest) -> HttpResponse:  # noqa: ARG001 - Django's interface
    return HttpResponse("hello")


urlpatterns = [path("", hello)]
application = get_asgi_application()
