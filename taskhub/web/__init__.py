"""HTTP serving below the views: ASGI handler, thread pool, detached responses, security headers, origin check."""
