"""Authentication and limits: account backend, actors, rate limits, which sandboxes an account may use."""
