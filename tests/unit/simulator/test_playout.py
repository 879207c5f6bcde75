from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from trunkline.simulator.playout import PlayoutBuffer


def test_a_mark_is_reached_once_everything_before_it_was_played() -> None:
    buffer = PlayoutBuffer()
    buffer.append(b"abc")
    buffer.mark("one")
    buffer.append(b"de")
    buffer.mark("two")

    assert buffer.take(2) == (b"ab", [])
    assert buffer.take(1) == (b"c", ["one"])
    assert buffer.take(9) == (b"de", ["two"])
    assert buffer.take(9) == (b"", [])


def test_a_mark_without_audio_before_it_is_reached_at_once() -> None:
    buffer = PlayoutBuffer()
    buffer.mark("now")

    assert buffer.reached_marks() == ["now"]
    assert buffer.reached_marks() == []


def test_clear_gives_every_pending_mark_back_and_drops_the_audio() -> None:
    buffer = PlayoutBuffer()
    buffer.append(b"abcd")
    buffer.mark("one")
    buffer.append(b"ef")
    buffer.mark("two")
    buffer.take(1)

    assert buffer.clear() == ["one", "two"]
    assert buffer.take(9) == (b"", [])
    assert (buffer.played_bytes, buffer.cleared_bytes, buffer.queued_bytes) == (1, 5, 0)


def test_a_stream_that_ends_drops_what_was_not_played() -> None:
    buffer = PlayoutBuffer()
    buffer.append(b"abcd")
    buffer.mark("never")
    buffer.drop()

    assert buffer.dropped_bytes == 4
    assert buffer.reached_marks() == []


_act = st.one_of(
    st.tuples(st.just("append"), st.binary(max_size=40)),
    st.tuples(st.just("mark"), st.text(max_size=3)),
    st.tuples(st.just("take"), st.integers(0, 30)),
    st.tuples(st.just("clear"), st.none()),
    st.tuples(st.just("drop"), st.none()),
)


@given(st.lists(_act, max_size=40))
def test_no_byte_is_ever_unaccounted_for(acts: list[tuple[str, object]]) -> None:
    buffer = PlayoutBuffer()
    sent, played = bytearray(), bytearray()
    for act, value in acts:
        match act:
            case "append":
                assert isinstance(value, bytes)
                buffer.append(value)
                sent += value
            case "mark":
                buffer.mark(str(value))
            case "take":
                assert isinstance(value, int)
                played += buffer.take(value)[0]
            case "clear":
                buffer.clear()
            case _:
                buffer.drop()
        accounted = (
            buffer.played_bytes + buffer.cleared_bytes + buffer.dropped_bytes + buffer.queued_bytes
        )
        assert buffer.received_bytes == len(sent) == accounted
        assert buffer.played_bytes == len(played)
