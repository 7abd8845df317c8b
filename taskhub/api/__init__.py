"""REST API. A view reads the request, calls one service or selector, and serializes the result."""
