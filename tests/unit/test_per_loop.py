from __future__ import annotations

import asyncio
import gc
import weakref

import pytest

from taskhub.lib.per_loop import PerLoop


class Value:
    """Something that can be referred to weakly."""


def test_each_loop_has_a_value_of_its_own_and_one() -> None:
    values = PerLoop(Value)

    async def twice() -> tuple[Value, Value]:
        first = values.get()
        await asyncio.sleep(0)
        return first, values.get()

    one, again = asyncio.run(twice())
    other, _ = asyncio.run(twice())
    assert one is again
    assert one is not other


def test_a_value_is_made_at_first_use_and_forgotten_on_demand() -> None:
    values = PerLoop(Value)

    async def use() -> None:
        assert not values.is_made()
        assert values.pop() is None
        made = values.get()
        assert values.is_made()
        assert values.pop() is made
        assert not values.is_made()
        assert values.get() is not made
        remade = values.make_for(asyncio.get_running_loop())
        assert values.get() is remade

    asyncio.run(use())


def test_a_value_goes_with_its_loop() -> None:
    values = PerLoop(Value)

    async def use() -> weakref.ref[Value]:
        return weakref.ref(values.get())

    kept = asyncio.run(use())
    gc.collect()
    assert kept() is None


def test_a_thread_without_a_loop_is_told() -> None:
    with pytest.raises(RuntimeError, match="no running event loop"):
        PerLoop(Value).get()
