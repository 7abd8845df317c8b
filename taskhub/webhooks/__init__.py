"""Webhooks that the hub sends: endpoints, queue, deliveries, dispatcher, HTTP client, SSRF guard."""
