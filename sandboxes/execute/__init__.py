"""Executions in a sandbox: the executor, the script runner, file changes."""
