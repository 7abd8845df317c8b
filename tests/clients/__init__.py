"""A matrix of clients against a real hub: `python -m tests.clients`, or `make clients`."""
