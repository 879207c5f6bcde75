from __future__ import annotations

import asyncio

from trunkline.store import CarrierSettings, Store


async def test_settings_of_a_carrier_are_replaced_as_a_whole(store: Store) -> None:
    await store.save_carrier_settings(
        CarrierSettings(carrier="b", credentials=b"\0\xff", max_concurrent_calls=3)
    )
    await store.save_carrier_settings(CarrierSettings(carrier="a", max_concurrent_calls=0))

    assert await store.fetch_carrier_settings() == [
        CarrierSettings(carrier="a", max_concurrent_calls=0),
        CarrierSettings(carrier="b", credentials=b"\0\xff", max_concurrent_calls=3),
    ]

    await store.save_carrier_settings(CarrierSettings(carrier="b"))

    assert (await store.fetch_carrier_settings())[1] == CarrierSettings(carrier="b")


async def test_simultaneous_first_saves_do_not_collide(store: Store) -> None:
    await asyncio.gather(
        *(
            store.save_carrier_settings(CarrierSettings(carrier="a", max_concurrent_calls=number))
            for number in range(10)
        ),
        *(store.save_setting("name", str(number)) for number in range(10)),
    )

    assert len(await store.fetch_carrier_settings()) == 1
    assert await store.fetch_setting("name") in {str(number) for number in range(10)}


async def test_a_setting_is_set_replaced_and_removed(store: Store) -> None:
    assert await store.fetch_setting("telephony_provider") is None

    await store.save_setting("telephony_provider", "acme")
    await store.save_setting("telephony_provider", "other")
    assert await store.fetch_setting("telephony_provider") == "other"

    await store.save_setting("telephony_provider", None)
    await store.save_setting("telephony_provider", None)
    assert await store.fetch_setting("telephony_provider") is None
