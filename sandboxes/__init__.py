"""Sandboxes: Daytona, or the local server that speaks its language. Stands on taskhub; taskhub never imports it."""
