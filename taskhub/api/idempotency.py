"""The `Idempotency-Key` header: a POST that is repeated with it makes nothing twice and gets the first answer again."""

from __future__ import annotations

import asyncio
import json
import re
from collections.abc import AsyncIterator, Callable, Coroutine
from contextlib import asynccontextmanager
from dataclasses import replace
from functools import partial, wraps
from typing import Any, Final, TypeVar

from django.db import transaction
from drf_spectacular.utils import OpenApiParameter
from rest_framework.exceptions import APIException
from rest_framework.renderers import JSONRenderer
from rest_framework.request import Request
from rest_framework.response import Response

from taskhub.api.actors import actor_of
from taskhub.errors import HubError, Invalid
from taskhub.executions.executor import ExecutorError
from taskhub.services.idempotency import (
    Answer,
    Asked,
    OutcomeUnknown,
    Reservation,
    idempotency_keep,
    idempotency_open,
    idempotency_release,
    idempotency_reserve,
)
from taskhub.web.thread_pool import with_database_writing

HEADER: Final = "Idempotency-Key"
REPLAYED: Final = "Idempotency-Replayed"
KEY: Final = re.compile(r"[\x21-\x7e]{1,255}\Z")
_KEPT_HEADERS: Final = ("ETag", "Cache-Control")

IDEMPOTENCY_KEY: Final = OpenApiParameter(
    HEADER,
    {"type": "string", "pattern": "^[!-~]{1,255}$", "examples": ["3f1c8a52-0d2e-4f0b-9b39-5f7f6a3c9d11"]},
    OpenApiParameter.HEADER,
    description="Any unique text, as a UUID. For 24 hours a repeat with it answers what the first request answered, "
    "and makes nothing again; with another body it is a 409 `idempotency_key_reused`, while the first one runs a 409 "
    "`in_progress`.",
)

Handler = TypeVar("Handler", bound=Callable[..., Response])
AsyncHandler = TypeVar("AsyncHandler", bound=Callable[..., Coroutine[Any, Any, Response]])
Find = Callable[..., Coroutine[Any, Any, Response | None]]


def idempotent(
    *,
    secret: bool = False,
    stores: Callable[[Response], bool] = lambda _: True,
    repeats: Callable[[Any], Any] = lambda data: data,
) -> Callable[[Handler], Handler]:
    """For a handler that makes something in our database. `secret`: its answer holds one; `stores`: keep the answer?

    `repeats` makes what a repeat is answered from the stored answer.
    """

    def decorated(handler: Handler) -> Handler:
        @wraps(handler)
        def answered(view: Any, request: Request, *args: Any, **kwargs: Any) -> Response:
            asked = read_asked(request)
            if asked is None:
                return handler(view, request, *args, **kwargs)
            with transaction.atomic():
                stored = idempotency_open(asked)
                if stored is not None:
                    return _replay(replace(stored, data=repeats(stored.data)))
                response = handler(view, request, *args, **kwargs)
                if stores(response):
                    idempotency_keep(asked, _answer(response), secret=secret)
                return response

        return answered  # type: ignore[return-value]  # the same signature

    return decorated


def idempotent_elsewhere(*, takes_s: float, find: Find) -> Callable[[AsyncHandler], AsyncHandler]:
    """For an async handler (`awaited`) that makes something at Daytona; it takes `label=`, "" without a key.

    The key is reserved first, for `takes_s` seconds. Where a first request ended without our knowing how, `find(view,
    request, label=, **kwargs)` looks for what it made; None is a 409 `outcome_unknown`.
    """

    def decorated(handler: AsyncHandler) -> AsyncHandler:
        @wraps(handler)
        async def answered(view: Any, request: Request, *args: Any, **kwargs: Any) -> Response:
            asked = read_asked(request)
            if asked is None:
                return await handler(view, request, *args, label="", **kwargs)
            reserved = await with_database_writing(partial(idempotency_reserve, asked, for_s=takes_s))
            if isinstance(reserved, Answer):
                return _replay(reserved)
            async with _released_on_failure(asked, reserved):
                response = await _make(view, request, reserved, args, kwargs)
                await with_database_writing(partial(idempotency_keep, asked, _answer(response), secret=False))
            return response

        async def _make(view: Any, request: Request, reserved: Reservation, args: Any, kwargs: Any) -> Response:
            if not reserved.is_repeat:
                return await handler(view, request, *args, label=reserved.label, **kwargs)
            found = await find(view, request, *args, label=reserved.label, **kwargs)
            if found is None:
                raise OutcomeUnknown(
                    "The first request with this Idempotency-Key ended without a known outcome; look at what there is, "
                    "then use a new key."
                )
            return found

        return answered  # type: ignore[return-value]  # likewise

    return decorated


@asynccontextmanager
async def _released_on_failure(asked: Asked, reserved: Reservation) -> AsyncIterator[None]:
    """A refusal frees the key; after a failure whose outcome is unknown a repeat looks for what was made."""
    try:
        yield
    except BaseException as error:
        known = not reserved.is_repeat and _made_nothing(error)
        # Also where this request is cancelled, and once more while it is released.
        await asyncio.shield(with_database_writing(partial(idempotency_release, asked, outcome_known=known)))
        raise


def _made_nothing(error: BaseException) -> bool:
    """Daytona refused, or we did before anything was sent: a wrong field, no place among those under way."""
    if isinstance(error, ExecutorError):
        return error.permanent
    return isinstance(error, HubError | APIException)


def read_asked(request: Request) -> Asked | None:
    """None without the header. Raises Invalid for a key that is empty, too long, or not visible ASCII."""
    key = request.headers.get(HEADER)
    if key is None:
        return None
    if not KEY.match(key):
        words = ["Must be 1 to 255 visible ASCII characters."]
        raise Invalid(f"{HEADER} is malformed.", details={HEADER: words})
    match = request.resolver_match
    ids = sorted((name, str(value)) for name, value in match.kwargs.items()) if match else []
    operation = f"{request.method} {match.view_name if match else request.path} {json.dumps(dict(ids))}"
    return Asked.of(actor=actor_of(request), operation=operation, key=key, body=request.data)


def _answer(response: Response) -> Answer:
    data = json.loads(JSONRenderer().render(response.data))
    headers = {name: response.headers[name] for name in _KEPT_HEADERS if name in response.headers}
    return Answer(response.status_code, data, headers)


def _replay(stored: Answer) -> Response:
    return Response(stored.data, status=stored.status, headers={**stored.headers, REPLAYED: "true"})
