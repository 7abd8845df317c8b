"""All writes of the sandboxes app: one module per noun."""
