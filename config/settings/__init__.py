"""Settings: `base` for all profiles; `local`, `production` and `test` are the profiles."""
