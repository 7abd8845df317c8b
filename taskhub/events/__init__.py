"""Events: declared (`types`), stored with their change (`publish`, `outbox`), delivered (`hub`, `feed`, `stream`)."""
