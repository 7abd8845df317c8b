"""The only readers on behalf of a user: `<noun>_get_for(user=…)`, `<noun>_list_for(user=…)`."""
