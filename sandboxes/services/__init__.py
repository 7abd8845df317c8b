"""The only writers of the sandboxes app: one module per noun."""
