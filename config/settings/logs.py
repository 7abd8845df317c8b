"""The setting LOGGING: handlers and levels; `taskhub/observability/log_format.py` has the formatter."""

from __future__ import annotations

from typing import Any, Final

from config import env

FORMS: Final = ("plain", "json")


def logging_to_console(*, form: str) -> dict[str, Any]:
    """Log everything to stderr in the format of `TASKHUB_LOG_FORMAT`, or `form` if it is not set.

    The JSON format has a record for every request (logger `taskhub.requests`); the text format has none.
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
            # uvicorn has installed handlers and a level (--log-level) by now; the level stays. Its request log is
            # replaced by taskhub.requests.
            "uvicorn": {"handlers": [], "propagate": True},
            "uvicorn.error": {},
            "uvicorn.access": {"handlers": [], "propagate": False},
            # A collector that does not answer is logged once, by taskhub/observability/tracing/export.py.
            "opentelemetry.exporter": {"level": "CRITICAL"},
            "opentelemetry.sdk": {"level": "CRITICAL"},
        },
    }
