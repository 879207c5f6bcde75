from __future__ import annotations

from trunkline.calls.hub import EventHub


async def test_only_the_call_s_listeners_are_woken() -> None:
    hub = EventHub()
    async with hub.listen("a") as one, hub.listen("a") as two, hub.listen("b") as other:
        hub.notify("a")
        assert (one.is_set(), two.is_set(), other.is_set()) == (True, True, False)


async def test_a_listener_that_left_is_forgotten() -> None:
    hub = EventHub()
    async with hub.listen("a") as one:
        pass
    hub.notify("a")
    assert not one.is_set()


async def test_closing_wakes_everyone() -> None:
    hub = EventHub()
    async with hub.listen("a") as one, hub.listen("b") as two:
        hub.close()
        assert one.is_set()
        assert two.is_set()
        assert hub.closing.is_set()
