"""REST: thin doors. A view reads the request, calls one service or selector, and serializes what it got."""
