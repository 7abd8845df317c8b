"""Formats of the pages that Django renders: see `FORMAT_MODULE_PATH`."""
