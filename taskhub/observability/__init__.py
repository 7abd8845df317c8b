"""Observability: logging, redaction, metrics, heartbeat, health, tracing."""
