"""REST for sandboxes and subscriptions, and Daytona's webhooks."""
