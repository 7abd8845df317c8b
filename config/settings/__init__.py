"""Settings: `base` holds what every profile shares; `local`, `production` and `test` are the profiles."""
