from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from trunkline.gateway.clock import MediaClock

FRAME = 160


def test_position_is_what_was_received() -> None:
    clock = MediaClock(8000, 0)
    for index in range(50):
        assert clock.receive(FRAME, index * 20 + 5, (index + 1) * 20) == 0
    assert clock.received_samples == 8000
    assert clock.position_ms(1000) == 1000
    assert (clock.gaps, clock.late, clock.resyncs) == (0, 0, 0)


def test_a_step_in_the_timestamps_is_lost_audio() -> None:
    clock = MediaClock(8000, 0)
    clock.receive(FRAME, 0, 20)
    assert clock.receive(FRAME, 520, 540) == 500 * 8
    assert clock.received_samples == 540 * 8
    assert (clock.gaps, clock.gap_samples, clock.late) == (1, 4000, 1)


def test_a_burst_after_a_stall_is_no_gap() -> None:
    clock = MediaClock(8000, 0)
    clock.receive(FRAME, 0, 20)
    for index in range(1, 50):
        assert clock.receive(FRAME, index * 20, 1000) == 0
    assert clock.received_samples == 8000
    assert clock.longest_wait_ms == 980


def test_a_timestamp_that_cannot_be_true_is_a_new_origin() -> None:
    clock = MediaClock(8000, 0)
    clock.receive(FRAME, 0, 20)
    assert clock.receive(FRAME, 10**12, 40) == 0
    assert clock.receive(FRAME, 10**12 + 20, 60) == 0
    assert clock.receive(FRAME, 0, 80) == 0
    assert clock.resyncs == 2


def test_the_wall_clock_stands_in_while_nothing_comes() -> None:
    clock = MediaClock(8000, 0)
    clock.receive(FRAME, 0, 20)
    assert clock.position_ms(150) == 20
    assert clock.position_ms(1020) == 1020
    clock.receive(FRAME, 20, 1030)  # late, not lost: the position waits for the rest
    assert clock.position_ms(1030) == 1020


def test_a_pause_without_timestamps_is_silence_that_was_not_sent() -> None:
    clock = MediaClock(8000, 0)
    clock.receive(FRAME, None, 20)
    clock.receive(FRAME, None, 2020)
    clock.receive(FRAME, None, 2040)
    assert clock.received_samples == 2040 * 8


def test_a_burst_without_timestamps_is_audio_that_was_held_up() -> None:
    clock = MediaClock(8000, 0)
    clock.receive(FRAME, None, 20)
    for _ in range(100):
        clock.receive(FRAME, None, 2020)
    clock.receive(FRAME, None, 2040)
    assert clock.received_samples == 102 * FRAME
    assert clock.gaps == 0


@given(
    st.lists(
        st.tuples(st.integers(1, 2000), st.none() | st.integers(0, 10**9), st.integers(0, 5000)),
        max_size=40,
    )
)
def test_the_position_never_goes_back_and_never_runs_away(
    frames: list[tuple[int, int | None, int]],
) -> None:
    clock = MediaClock(8000, 0)
    now_ms, total, position = 0, 0, 0
    for n_samples, timestamp_ms, waited_ms in frames:
        now_ms += waited_ms
        total += n_samples
        clock.receive(n_samples, timestamp_ms, now_ms)
        assert clock.position_samples(now_ms) >= position
        position = clock.position_samples(now_ms)
        assert clock.received_samples >= total
        slack_ms = 2000 * len(frames)
        assert clock.received_samples <= total + (now_ms + slack_ms) * 8
