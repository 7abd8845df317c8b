"""Every error of the API in one shape: `{"error": {"code", "message", "details"?}}`."""

from __future__ import annotations

import json
import logging
import random
import re
import sys
from http import HTTPStatus
from typing import Any, Final

from django.conf import settings
from django.core.exceptions import PermissionDenied, RequestDataTooBig
from django.http import Http404, HttpRequest, HttpResponse, JsonResponse
from django.shortcuts import render
from rest_framework import exceptions, status
from rest_framework.response import Response
from rest_framework.views import set_rollback

from taskhub.api.routes import malformed_ids
from taskhub.errors import HOW_TO_AUTHENTICATE, ExecutionEnding, HubError, TooLarge, Unavailable, Upstream, error_body
from taskhub.executions.executor import ExecutorError
from taskhub.lib.database_errors import RETRY_S, passing_trouble

log = logging.getLogger(__name__)

_COME_AGAIN: Final = frozenset({HTTPStatus.SERVICE_UNAVAILABLE, HTTPStatus.TOO_MANY_REQUESTS})
_CODES: Final = {
    status.HTTP_400_BAD_REQUEST: "invalid",
    status.HTTP_401_UNAUTHORIZED: "not_authenticated",
    status.HTTP_403_FORBIDDEN: "forbidden",
    status.HTTP_404_NOT_FOUND: "not_found",
    status.HTTP_405_METHOD_NOT_ALLOWED: "method_not_allowed",
    status.HTTP_406_NOT_ACCEPTABLE: "not_acceptable",
    status.HTTP_415_UNSUPPORTED_MEDIA_TYPE: "unsupported_media_type",
    status.HTTP_429_TOO_MANY_REQUESTS: "throttled",
}
_MESSAGES: Final = {
    status.HTTP_406_NOT_ACCEPTABLE: "The answer is JSON; send Accept: application/json, or no Accept.",
    status.HTTP_415_UNSUPPORTED_MEDIA_TYPE: "Send JSON, with Content-Type: application/json.",
}


def answer(error: Exception, context: dict[str, Any]) -> Response | None:  # noqa: ARG001 - DRF's interface
    """DRF's exception handler. What it does not know goes to `server_error`, which tells nothing."""
    if isinstance(error, RequestDataTooBig):
        limit = settings.DATA_UPLOAD_MAX_MEMORY_SIZE
        error = TooLarge(f"A request body may have at most {limit} bytes.", code="body_too_large")
    if isinstance(error, ExecutorError):
        error = upstream(error)
    if unavailable := database_unavailable(error):
        error = unavailable
    if isinstance(error, HubError):
        set_rollback()
        return Response(error.body(), status=error.status, headers=_hub_headers(error))
    if isinstance(error, Http404):
        error = exceptions.NotFound()
    elif isinstance(error, PermissionDenied):
        error = exceptions.PermissionDenied()
    if not isinstance(error, exceptions.APIException):
        return None
    set_rollback()
    return Response(_body(error), status=error.status_code, headers=_headers(error))


def upstream(error: ExecutorError) -> Upstream:
    """What the sandbox service refused or could not do, as an answer of ours."""
    return Upstream(error.message, code=error.code, status=error.status, retry_after_s=error.retry_after_s)


def database_unavailable(error: BaseException) -> Unavailable | None:
    """The answer if the database is locked, gone or full, which passes by itself. Logged in one line."""
    message = passing_trouble(error)
    if message is None:
        return None
    log.warning("the database failed a request: %s", error)
    return Unavailable(message, code="database_unavailable", details={"retry_after_s": RETRY_S})


def _hub_headers(error: HubError) -> dict[str, str]:
    """How to authenticate, or when to come again.

    That is jittered, so that those who were refused together do not come back together.
    """
    if isinstance(error, ExecutionEnding):
        return {"Retry-After": str(error.retry_after_s)}
    if error.status == HTTPStatus.UNAUTHORIZED:
        return {"WWW-Authenticate": "Bearer"}
    if error.status not in _COME_AGAIN:
        return {}
    least_s = int(getattr(error, "retry_after_s", None) or 0) + 1
    return {"Retry-After": str(random.randint(least_s, least_s + 4))}  # noqa: S311 - spreads load, hides nothing


def _headers(error: exceptions.APIException) -> dict[str, str]:
    headers = {}
    if challenge := getattr(error, "auth_header", None):
        headers["WWW-Authenticate"] = challenge
    if wait := getattr(error, "wait", None):
        headers["Retry-After"] = str(int(wait) + 1)
    return headers


def _body(error: exceptions.APIException) -> dict[str, Any]:
    code = _CODES.get(error.status_code, "error")
    if isinstance(error, exceptions.NotAuthenticated):
        return error_body(code, HOW_TO_AUTHENTICATE)
    if isinstance(error, exceptions.AuthenticationFailed):
        return error_body(auth_code(error), str(error.detail))
    if isinstance(error, exceptions.ValidationError):
        return error_body(code, "Some fields are wrong; details names them.", _sayable(error.detail))
    if isinstance(error, exceptions.ParseError):
        return _malformed(error)
    return error_body(code, _MESSAGES.get(error.status_code, str(error.detail)))


def auth_code(error: exceptions.AuthenticationFailed) -> str:
    """`token_expired` and the like; a wrong token is simply `not_authenticated`."""
    own = str(error.get_codes())
    return "not_authenticated" if own == exceptions.AuthenticationFailed.default_code else own


def _sayable(detail: Any) -> Any:
    """Details may quote what was sent, and half a character (a lone surrogate) cannot be sent back."""
    if isinstance(detail, dict):
        return {_sayable(str(name)): _sayable(value) for name, value in detail.items()}
    if isinstance(detail, list):
        return [_sayable(value) for value in detail]
    return str(detail).encode("utf-8", errors="replace").decode()


def _malformed(error: exceptions.ParseError) -> dict[str, Any]:
    cause = error.__context__
    if isinstance(cause, json.JSONDecodeError):
        place = {"line": cause.lineno, "column": cause.colno, "position": cause.pos}
        return error_body("malformed_json", f"The body is not JSON: {cause.msg}.", place)
    return error_body("malformed_json", "The body is not JSON in UTF-8.")


def error_response(error: HubError) -> JsonResponse:
    """The same body for a plain Django view."""
    return JsonResponse(error.body(), status=error.status, headers=_hub_headers(error))


def _plain(code: str, message: str, http_status: int) -> JsonResponse:
    return JsonResponse(error_body(code, message), status=http_status)


_OF_PROGRAMS: Final = re.compile(r"/(?:api|mcp|oauth|\.well-known|static)/|/(?:mcp|sse)\Z")


def _is_for_people(request: HttpRequest) -> bool:
    """Whether a browser wants to show a page: programs do not name HTML, and `*/*` is no wish for it."""
    return "text/html" in request.headers.get("Accept", "") and not _OF_PROGRAMS.match(request.path_info)


def _page(request: HttpRequest, heading: str, words: str, http_status: int) -> HttpResponse:
    return render(request, "error.html", {"heading": heading, "words": words}, status=http_status)


def bad_request(request: HttpRequest, exception: Exception) -> HttpResponse:  # noqa: ARG001 - Django's interface
    return _plain("bad_request", "The request cannot be understood.", 400)


def csrf_failure(request: HttpRequest, reason: str = "") -> HttpResponse:  # noqa: ARG001 - Django's interface
    if _is_for_people(request):
        return _page(
            request,
            "This form is out of date",
            "You have signed in or out since it was opened, or the browser sends no cookies. "
            "Go back, reload the page, and send the form again.",
            403,
        )
    return _plain("csrf_failed", "Send the page's CSRF token, or an API token.", 403)


def forbidden(request: HttpRequest, exception: Exception) -> HttpResponse:  # noqa: ARG001 - Django's interface
    if _is_for_people(request):
        words = (
            "Your account has no role that may open this page. An operator gives roles, in the admin under Accounts."
        )
        return _page(request, "You may not see this page", words, 403)
    return _plain("forbidden", "You may not do this.", 403)


def not_found(request: HttpRequest, exception: Exception) -> HttpResponse:  # noqa: ARG001 - Django's interface
    if _is_for_people(request):
        words = "The address is wrong, or what was there has been deleted."
        return _page(request, "Page not found", words, 404)
    wrong = malformed_ids(request.path_info)
    if wrong:
        return JsonResponse(error_body("not_found", f"Not an id: {_said(wrong)}", wrong), status=404)
    return _plain("not_found", "There is nothing at this address; /api/ lists the endpoints.", 404)


def _said(wrong: dict[str, list[str]]) -> str:
    return " ".join(f"{name} {message[0].lower()}{message[1:]}" for name, (message, *_) in wrong.items())


def server_error(request: HttpRequest) -> HttpResponse:  # noqa: ARG001 - Django's interface
    """Called while the exception is being handled."""
    error = sys.exc_info()[1]
    unavailable = database_unavailable(error) if error is not None else None
    if unavailable is not None:
        return error_response(unavailable)
    return _plain("internal_error", "Something went wrong on our side; it has been logged.", 500)
