"""Events: declared (`types`), kept with the change they report (`publish`, `storage`), delivered (`hub`, `stream`)."""
