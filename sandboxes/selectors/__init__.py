"""The only readers on behalf of a user."""
