"""References between tasks that are created together: a topological sort of them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from graphlib import CycleError, TopologicalSorter
from typing import Any
from uuid import UUID

from taskhub.errors import Invalid
from taskhub.services.order import Cycle


def refs_in_order(tasks: Sequence[Mapping[str, Any]]) -> list[int]:
    """The indices of the tasks, each behind those of the list that it waits for; first those that wait for none.

    `ref` names a task, `blocked_by` has ids and refs. Raises Invalid for a ref that is unknown or given twice, Cycle.
    """
    named: dict[str, int] = {}
    wrong: dict[str, Any] = {}
    for n, fields in enumerate(tasks):
        ref = fields.get("ref")
        if ref and named.setdefault(ref, n) != n:
            wrong[str(n)] = {"ref": [f"Another task of the list is {ref}."]}
    graph = TopologicalSorter(dict.fromkeys(range(len(tasks)), ()))
    for n, fields in enumerate(tasks):
        refs = [each for each in fields.get("blocked_by", ()) if not isinstance(each, UUID)]
        if unknown := [each for each in refs if each not in named]:
            wrong[str(n)] = {"blocked_by": [f"Not a task, nor a ref of this list: {', '.join(unknown[:5])}."]}
        graph.add(n, *(named[each] for each in refs if each in named))
    if wrong:
        raise Invalid("Some references are wrong, no task was created; details names them by index.", details=wrong)
    try:
        return list(graph.static_order())
    except CycleError:
        raise Cycle("These tasks would wait for each other; leave out one of their references.") from None
