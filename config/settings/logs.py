"""Django's LOGGING: where lines go, and how they are written (`taskhub/observability/log_format.py`)."""

from __future__ import annotations

from typing import Any, Final

from config import env

FORMS: Final = ("plain", "json")


def logging_to_console(*, form: str) -> dict[str, Any]:
    """Everything to stderr, each line as `TASKHUB_LOG_FORMAT` says, or as `form` where that is not set.

    As JSON every request has a line of its own (logger `taskhub.requests`); as text there are none of these.
    """
    form = env.one_of("TASKHUB_LOG_FORMAT", form, FORMS)
    ours = {"level": env.text("TASKHUB_LOG_LEVEL", "INFO").upper()}
    as_json = form == "json"
    return {
        "version": 1,
        "disable_existing_loggers": False,
        "formatters": {
            "line": {
                "()": "taskhub.observability.log_format.LineFormatter",
                "form": form,
                "traced": env.traces_wanted(),
            }
        },
        "filters": {
            "refusals": {"()": "taskhub.observability.log_format.OneLineForARefusal", "requests_told": as_json}
        },
        "handlers": {"console": {"class": "logging.StreamHandler", "formatter": "line", "filters": ["refusals"]}},
        "root": {"handlers": ["console"], "level": "WARNING"},
        "loggers": {
            "taskhub": ours,
            "taskhub.requests": ours if as_json else {"level": "WARNING"},
            "sandboxes": ours,
            # uvicorn has given itself handlers by now, and a level (--log-level), which stays. What its log of requests
            # would say, taskhub.requests does.
            "uvicorn": {"handlers": [], "propagate": True},
            "uvicorn.error": {},
            "uvicorn.access": {"handlers": [], "propagate": False},
            # A collector that does not answer is told of once, by taskhub/tracing.py.
            "opentelemetry.exporter": {"level": "CRITICAL"},
            "opentelemetry.sdk": {"level": "CRITICAL"},
        },
    }
