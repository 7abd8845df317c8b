"""Watching sandboxes: polling, push listener, first look, subscription tracker."""
