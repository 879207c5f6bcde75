from __future__ import annotations

from trunkline.gateway.watchdog import Verdict, Watchdog


def watchdog(max_duration_s: float = 0, silence_timeout_s: float = 0) -> Watchdog:
    return Watchdog(
        100.0,
        max_duration_s=max_duration_s,
        silence_timeout_s=silence_timeout_s,
        max_loop_block_s=10.0,
    )


def test_nothing_is_expected_of_a_worker_that_has_not_come() -> None:
    assert watchdog().check(10_000.0, has_audio_left=False) is Verdict.FINE


def test_a_heartbeat_that_stays_away_for_three_seconds() -> None:
    dog = watchdog()
    dog.worker_came(100.0)
    dog.heartbeat(0, 105.0)
    assert dog.check(107.9, has_audio_left=True) is Verdict.FINE
    assert dog.check(108.0, has_audio_left=True) is Verdict.HUNG
    dog.worker_left()
    assert dog.check(200.0, has_audio_left=True) is Verdict.FINE


def test_a_blocked_loop_is_warned_of_once_each_time() -> None:
    dog = watchdog()
    dog.worker_came(100.0)
    dog.heartbeat(1000, 101.0)
    assert dog.check(101.0, has_audio_left=False) is Verdict.LAGS
    assert dog.check(101.1, has_audio_left=False) is Verdict.FINE
    dog.heartbeat(2000, 102.0)
    assert dog.check(102.0, has_audio_left=False) is Verdict.FINE
    dog.heartbeat(0, 103.0)
    dog.heartbeat(1500, 104.0)
    assert dog.check(104.0, has_audio_left=False) is Verdict.LAGS


def test_a_blocked_loop_is_given_up_only_when_the_caller_hears_nothing() -> None:
    dog = watchdog()
    dog.worker_came(100.0)
    dog.heartbeat(10_000, 110.0)
    assert dog.check(110.0, has_audio_left=True) is Verdict.LAGS
    assert dog.check(110.1, has_audio_left=False) is Verdict.HUNG


def test_the_longest_duration() -> None:
    dog = watchdog(max_duration_s=60.0)
    assert dog.check(159.9, has_audio_left=True) is Verdict.FINE
    assert dog.check(160.0, has_audio_left=True) is Verdict.MAX_DURATION


def test_silence_counts_from_the_last_speech() -> None:
    dog = watchdog(silence_timeout_s=5.0)
    dog.speech(110.0)
    assert dog.check(114.9, has_audio_left=False) is Verdict.FINE
    assert dog.check(115.0, has_audio_left=False) is Verdict.SILENCE
