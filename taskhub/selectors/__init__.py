"""Selectors: all reads on behalf of a user: `<noun>_get_for(user=…)`, `<noun>_list_for(user=…)`."""
