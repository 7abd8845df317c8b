"""All reads on behalf of a user."""
