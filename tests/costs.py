"""What statements cost, counted by the database itself: no time, no machine."""

from __future__ import annotations

import json
from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import dataclass
from typing import Any

from django.db import connection

STEP = 10
"""SQLite calls back after so many of its virtual machine's instructions."""


@dataclass
class Cost:
    """`work`: on SQLite instructions of its virtual machine, on PostgreSQL rows that its plans looked at."""

    queries: int = 0
    work: int = 0


def cost_of(act: Callable[[], Any]) -> tuple[Any, Cost]:
    """What it answers, and what it cost the database."""
    cost = Cost()
    with ExitStack() as stack:
        stack.enter_context(connection.execute_wrapper(_counting(cost)))
        if connection.vendor == "sqlite":
            connection.connection.set_progress_handler(_adding(cost), STEP)
            stack.callback(connection.connection.set_progress_handler, None, 0)
        return act(), cost


def _adding(cost: Cost) -> Callable[[], int]:
    def step() -> int:
        cost.work += STEP
        return 0

    return step


def _counting(cost: Cost) -> Callable[..., Any]:
    def execute(run: Callable[..., Any], sql: str, params: Any, many: bool, context: dict[str, Any]) -> Any:
        cost.queries += 1
        if connection.vendor == "postgresql" and sql.startswith("SELECT"):
            with connection.cursor() as cursor:
                # On the driver's own cursor: not counted again.
                cursor.cursor.execute(f"EXPLAIN (ANALYZE, TIMING OFF, FORMAT JSON) {sql}", params)
                (found,) = cursor.cursor.fetchone()
            plan = json.loads(found) if isinstance(found, str) else found
            cost.work += _rows_looked_at(plan[0]["Plan"])
        return run(sql, params, many, context)

    return execute


def _rows_looked_at(node: dict[str, Any]) -> int:
    removed = sum(value for name, value in node.items() if name.startswith("Rows Removed by"))
    own = (node["Actual Rows"] + removed) * node["Actual Loops"]
    return int(own) + sum(map(_rows_looked_at, node.get("Plans", [])))


def forget_statistics(table: str = "taskhub_task") -> None:
    """What PostgreSQL has gathered by itself of the rows of earlier tests, but for how many of them a page holds.

    It may have looked while the table was empty, and takes it for small until it looks again: then all indexes with a
    status cost it the same. The test's transaction gives it back.
    """
    if connection.vendor == "postgresql":
        with connection.cursor() as cursor:
            cursor.execute("DELETE FROM pg_statistic WHERE starelid = %s::regclass", [table])
            cursor.execute("UPDATE pg_class SET reltuples = 1000, relpages = 20 WHERE oid = %s::regclass", [table])


def analyze() -> None:
    """A planner may judge otherwise when it knows the tables."""
    with connection.cursor() as cursor:
        cursor.execute("ANALYZE")
