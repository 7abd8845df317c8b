"""Webhooks that the hub sends: where they may go, how one is sent, and the pump that sends what is due."""
