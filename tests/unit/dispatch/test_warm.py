from __future__ import annotations

from pathlib import Path

from trunkline.dispatch.messages import AgentSpec
from trunkline.dispatch.warm import BackOff, module_stamp
from trunkline.errors import ConfigError, WorkerFailed

DIED = WorkerFailed("died")


def test_a_few_failures_are_forgiven_and_then_each_pause_is_longer() -> None:
    back_off = BackOff(allowed=3, first_s=1, longest_s=5)
    for now_s in (0.0, 0.1):
        back_off.fail(DIED, now_s, at_once=False)
    assert not back_off.is_blocked(0.2)
    pauses: list[float] = []
    now_s = 1.0
    for _ in range(5):
        back_off.fail(DIED, now_s, at_once=False)
        pauses.append(back_off.blocked_until_s - now_s)
        now_s = back_off.blocked_until_s
    assert pauses == [1, 2, 4, 5, 5]
    assert back_off.reason is DIED


def test_a_load_that_fails_pauses_at_once() -> None:
    back_off = BackOff(first_s=2)
    back_off.fail(ConfigError("no key"), 10.0, at_once=True)
    assert back_off.is_blocked(11.9)
    assert not back_off.is_blocked(12.0)


def test_a_success_forgets() -> None:
    back_off = BackOff()
    back_off.fail(DIED, 0.0, at_once=True)
    back_off.succeed()
    assert not back_off.is_blocked(0.1)
    assert back_off.failures == 0


def test_failures_long_ago_do_not_count() -> None:
    back_off = BackOff(allowed=2, window_s=10, longest_s=10)
    back_off.fail(DIED, 0.0, at_once=False)
    back_off.fail(DIED, 100.0, at_once=False)
    assert back_off.failures == 1


def agent(module: str | None) -> AgentSpec:
    return AgentSpec(name="a", kind="module", module=module)


def test_a_changed_file_has_another_stamp(tmp_path: Path) -> None:
    file = tmp_path / "bot.py"
    file.write_text("1")
    first = module_stamp(agent(str(file)))
    assert first == module_stamp(agent(f"{file}:entry"))
    file.write_text("12")
    second = module_stamp(agent(str(file)))
    assert second != first
    replacement = tmp_path / "new.py"
    replacement.write_text("12")
    replacement.replace(file)
    assert module_stamp(agent(str(file))) != second


def test_what_has_no_file_has_no_stamp(tmp_path: Path) -> None:
    assert module_stamp(agent(None)) is None
    assert module_stamp(agent(str(tmp_path / "absent.py"))) is None
