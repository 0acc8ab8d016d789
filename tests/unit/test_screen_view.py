"""What the recording screen shows: the recorder's status parsed, and each part of the picture for each state."""

import dataclasses
import subprocess
import sys

import pytest
from autofocus_core.errors import AutofocusError
from autofocus_core.schema import QualityRules
from demo_recorder.screen.banner import banner, banner_lines
from demo_recorder.screen.bigtext import GLYPH_ROWS_PX, GLYPHS, big
from demo_recorder.screen.paint import COLOURS, MONOCHROME
from demo_recorder.screen.parts import FILLED, Tone, bar, clock, length, shorten, size, span_ms, span_s, wrapped
from demo_recorder.screen.picture import picture
from demo_recorder.screen.snapshot import STALE_S, DataRate, Link, Snapshot
from demo_recorder.screen.status import Level, Row, parse_status
from demo_recorder.screen.table import stream_lines
from demo_recorder.screen.view import footer_lines, message_lines, session_lines, title_line
from screen_fakes import ACTION, IMAGE, STATE, recording, rows, status, stopped, stream_row

RULES = QualityRules()


def text(lines) -> str:
    return "\n".join("".join(piece.text for piece in row) for row in lines)


def tone_of(lines, part: str) -> Tone:
    """The tone of the piece that has `part` in it."""
    (found,) = {piece.tone for row in lines for piece in row if part in piece.text}
    return found


def table(*streams: Row, width: int = 80, height: int = 20, **options):
    return stream_lines(status(list(streams)).streams, width, height, RULES, **{"counts": True, **options})


# The status


def test_a_status_is_parsed_to_the_last_key():
    row = stream_row(STATE, 99.5, 100, 1, count=371, lost=3, refused=1, missing=2, gaps=1, longest_gap_ms=52.5)
    parsed = status([row], state="recording", elapsed_s="12.30", max_duration_s="60", target_episodes="",
                    last_reasons="one; two", last_grade="bad", unheard_of="1")
    assert (parsed.state, parsed.elapsed_s, parsed.max_duration_s, parsed.target_episodes) == (
        "recording", 12.3, 60.0, None)
    assert parsed.last_reasons == ("one", "two")
    (stream,) = parsed.streams
    assert (stream.topic, stream.rate_hz, stream.expected_rate_hz) == (STATE, 99.5, 100.0)
    assert (stream.count, stream.lost, stream.refused, stream.missing) == (371, 3, 1, 2)
    assert (stream.level, stream.longest_gap_ms) == (Level.WARN, 52.5)


def test_drops_count_a_message_once_though_stamps_and_sequence_both_miss_it():
    (stream,) = status([stream_row(STATE, 100, 100, lost=3, refused=1, missing=2)]).streams
    assert stream.drops == 4
    (stream,) = status([stream_row(STATE, 100, 100, lost=3, refused=1, missing=9)]).streams
    assert stream.drops == 9


@pytest.mark.parametrize("change, said", [
    ({"state": "paused"}, "'paused'"),
    ({"elapsed_s": "soon"}, "elapsed_s"),
    ({"elapsed_s": "nan"}, "elapsed_s"),
])
def test_a_status_of_another_version_is_named(change, said):
    with pytest.raises(AutofocusError, match=said):
        status(**change)


def test_a_missing_key_and_a_foreign_publisher_are_named():
    head, *streams = rows()
    values = {key: value for key, value in head.values.items() if key != "queue_bytes"}
    with pytest.raises(AutofocusError, match="queue_bytes"):
        parse_status([dataclasses.replace(head, values=values), *streams])
    with pytest.raises(AutofocusError, match="battery"):
        parse_status([Row("battery", 0, "", {})])
    with pytest.raises(AutofocusError, match="nothing"):
        parse_status([])


# The banner


@pytest.mark.parametrize("now, large, tone, filled", [
    (status(), "idle", Tone.PLAIN, False),
    (status(level=2, message="nobody publishes /a"), "idle", Tone.BAD, False),
    (status(state="countdown", countdown_s="2.4"), "starts in 3", Tone.ACTIVE, True),
    (status(state="countdown", countdown_s="0.01"), "starts in 1", Tone.ACTIVE, True),
    (recording(12.34), "recording 00:12.3", Tone.GOOD, True),
    (dataclasses.replace(recording(), level=Level.WARN), "recording 00:12.3", Tone.WARN, True),
    (dataclasses.replace(recording(), level=Level.ERROR), "recording 00:12.3", Tone.BAD, True),
    (stopped("good"), "good", Tone.GOOD, False),
    (stopped("usable"), "usable", Tone.WARN, False),
    (stopped("bad"), "bad", Tone.BAD, False),
    (status(state="discarded"), "discarded", Tone.PLAIN, False),
])
def test_each_state_has_its_banner(now, large, tone, filled):
    made = banner(Snapshot(status=now))
    assert (made.large, made.tone, made.filled) == (large, tone, filled)
    assert all(length(row) <= 80 for row in banner_lines(made, 80))


@pytest.mark.parametrize("snapshot, link, large", [
    (Snapshot(age_s=3.0), Link.STARTING, "starting"),
    (Snapshot(age_s=60.0), Link.SILENT, "no recorder"),
    (Snapshot(status=recording(), age_s=STALE_S + 0.1), Link.SILENT, "no answer"),
    (Snapshot(status=recording(), age_s=0.1, exit_code=-9), Link.ENDED, "recorder ended"),
    (Snapshot(status=recording(), age_s=0.1, garbled="no queue_bytes"), Link.GARBLED, "not understood"),
])
def test_a_recorder_that_is_not_heard_is_never_shown_as_recording(snapshot, link, large):
    assert snapshot.link is link and snapshot.live is None
    made = banner(snapshot)
    assert made.large == large
    assert made.filled == (link is not Link.STARTING)
    shown = text([*session_lines(snapshot, 80), *footer_lines(snapshot, 80)])
    assert "this episode" not in shown or tone_of(session_lines(snapshot, 80), "this episode") is Tone.MUTED
    assert "space start" in shown
    if link in (Link.SILENT, Link.ENDED):
        assert made.tone is Tone.BAD
        assert "q:" in " ".join(made.captions)


def test_what_to_do_depends_on_whose_recorder_it_is():
    silent = Snapshot(status=recording(), age_s=5.0, log_path="/o/r.log")
    assert "/o/r.log" in " ".join(banner(silent).captions)
    attached = " ".join(banner(Snapshot(status=recording(), age_s=5.0, attached=True)).captions)
    assert "q:" not in attached and "running" in attached
    ended = " ".join(banner(Snapshot(status=recording(), exit_code=-9)).captions)
    assert "status -9" in ended and "episodes recover /data/episodes" in ended


def test_the_banner_says_when_it_will_stop_and_what_is_awaited():
    assert "stops by itself at 01:00 (in 48 s)" in banner(Snapshot(status=recording(max_duration_s="60"))).captions[0]
    assert banner(Snapshot(status=status(), pending="start")).captions[0].startswith("start: waiting")
    assert "success (s) or failure (f)?" in banner(Snapshot(status=stopped())).captions[0]
    assert "?" not in banner(Snapshot(status=stopped(last_outcome="success"))).captions[0]


def test_a_recording_shows_the_verdict_to_come():
    """A camera lost every fourth image for a whole morning under a green RECORDING, because each was only `missing`."""
    streams = [stream_row(STATE, 100, 100, count=738), stream_row(IMAGE, 29, 30, count=75, missing=24)]
    made = banner(Snapshot(status=status(streams, state="recording", episode="lift_1")))
    assert (made.tone, made.captions[1]) == (Tone.BAD, f"{IMAGE}: 24 messages missing")
    streams[0] = dataclasses.replace(stream_row(STATE, 100, 100, 1, count=738), message="99.0 Hz, 1 lost")
    made = banner(Snapshot(status=status(streams, state="recording", episode="lift_1")))
    assert made.captions[1].endswith("; and 1 more stream")
    lines = table(*streams, recording=True)
    assert text(lines[1:2]).startswith("▲ /joint") and text(lines[3:]).startswith("✗ …a/color/image_raw")
    assert "●" in text(table(streams[1])[1:2])  # the episode is over, the camera is well
    assert "and 2 more, 2 with a problem" in text(table(*streams, recording=True, height=2))
    # What nobody expects at a rate is not judged, and three intervals are no statistics.
    unjudged = stream_row("/extra", 5, None, count=100, missing=50, longest_gap_ms=9000, jitter_ms=500)
    young = stream_row(STATE, 100, 100, count=3, jitter_ms=80)
    assert banner(Snapshot(status=status([unjudged, young], state="recording"))).tone is Tone.GOOD


def test_the_last_verdict_takes_one_line_while_the_next_episode_is_recorded():
    last = dict(last_grade="bad", last_episode="lift_1", last_reasons="one: 61 missing; two: a gap")
    lines = message_lines(Snapshot(status=recording(**last), events=("10:15:02 gap",)), 60)
    assert text(lines).splitlines() == ["  10:15:02 gap", "   bad  last: lift_1: one: 61 missing"]
    lines = message_lines(Snapshot(status=stopped("bad", last["last_reasons"]), events=("10:15:02 gap",)), 60)
    rows = [row.strip() for row in text(lines).splitlines()]
    assert rows[1:] == ["- one: 61 missing", "- two: a gap", "10:15:02 gap"]


def test_large_letters_are_rectangles_and_fall_back_to_plain_text():
    for character, glyph in GLYPHS.items():
        columns = [len(row) for row in glyph.split("/")]
        assert len(columns) == GLYPH_ROWS_PX and len(set(columns)) == 1, character
    large = big("recording 1:02:13.4", 76)
    assert len(large) == 3 and len(set(map(len, large))) == 1
    assert big("recording 00:12.3", 40) == ("recording 00:12.3",)


def test_a_filled_banner_reaches_both_edges():
    lines = banner_lines(banner(Snapshot(status=recording())), 80)
    assert {length(row) for row in lines} == {80}
    assert {piece.tone for row in lines for piece in row} == {Tone.FILLED_GOOD}


# The table


def test_a_stream_is_coloured_by_the_quality_rules():
    good = stream_row(IMAGE, 29.9, 30, count=1000)
    assert {piece.tone for piece in table(good)[1]} <= {Tone.GOOD, Tone.PLAIN, Tone.MUTED}
    slow = table(stream_row(IMAGE, 27.0, 30, count=1000))
    assert tone_of(slow, "27.0") is Tone.WARN
    assert tone_of(table(stream_row(IMAGE, 20.0, 30, count=1000)), "20.0") is Tone.BAD
    few = table(stream_row(STATE, 100, 100, count=1000, lost=3))
    assert tone_of(few[1:], "3") is Tone.STRONG  # allowed by the rules, and still shown
    assert tone_of(table(stream_row(STATE, 100, 100, count=1000, missing=88))[1:], "88") is Tone.BAD
    gap = table(stream_row(STATE, 100, 100, count=1000, longest_gap_ms=2034))
    assert tone_of(gap, "2.0 s") is Tone.BAD
    late = table(stream_row(IMAGE, 30, 30, count=1000, latency_p99_ms=300))
    assert tone_of(late, "1/300") is Tone.WARN
    silent = table(stream_row(IMAGE, 30, 30, 2, silent_ms=180))
    assert tone_of(silent, "180 ms") is Tone.BAD
    assert tone_of(table(stream_row(IMAGE, 30, 30, 2, silent_ms=160)), "160 ms") is Tone.MUTED


def test_a_topic_without_publisher_says_so():
    lines = table(stream_row(IMAGE, 0, 30, 2, publishers=0),
                  stream_row("/extra", 0, None, required="false", publishers=0))
    assert tone_of(lines[:2], "nobody publishes it") is Tone.BAD
    assert tone_of(lines[2:], "nobody publishes it") is Tone.MUTED
    assert "✗" in text(lines[1:2]) and "recorded if somebody does" in text(lines[2:3])
    # One that went away in mid-episode keeps its counts.
    gone = table(stream_row(IMAGE, 0, 30, 2, publishers=0, count=371, silent_ms=4000))
    assert "371" in text(gone) and "4.0 s" in text(gone)


def test_counts_are_shown_only_where_there_is_an_episode_they_belong_to():
    row = stream_row(STATE, 100, 100, count=371)
    assert "371" in text(table(row)) and "371" not in text(table(row, counts=False))


def test_what_the_recorder_says_of_a_problem_is_below_its_stream_where_there_is_room():
    row = dataclasses.replace(stream_row(IMAGE, 20, 30, 2), message="3 could not be handled")
    assert "    3 could not be handled" in text(table(row, stream_row(STATE, 100, 100), height=4)).splitlines()
    assert "handled" not in text(table(row, stream_row(STATE, 100, 100), height=3))
    assert "silent for" not in text(table(dataclasses.replace(row, message="silent for 2034 ms")))  # has its column
    assert "could not" not in text(table(dataclasses.replace(stream_row(STATE, 100, 100), message="could not")))


def test_what_does_not_fit_is_what_matters_least():
    streams = [stream_row(f"/extra_{k}", 10, None, required="false") for k in range(10)]
    streams[7] = stream_row("/troubled", 10, None, 1, required="false")
    streams += [stream_row(STATE, 100, 100)]
    shown = text(table(*streams, height=5))
    assert "/troubled" in shown and STATE in shown and shown.count("\n") == 4
    assert "and 8 more, all well" in shown
    troubled = [stream_row(f"/t{k}", 0, 10, 2) for k in range(9)]
    assert "and 6 more, 6 with a problem" in text(table(*troubled, height=5))
    assert table(*troubled, height=1) and table(*troubled, height=2)


@pytest.mark.parametrize("width", [60, 80, 100, 120, 160, 200])
def test_the_table_fits_and_shows_more_where_there_is_room(width):
    row = stream_row("/camera/camera/aligned_depth_to_color/image_raw", 29.94, 30, 1, count=123456, lost=1234,
                     refused=4321, missing=99, gaps=17, longest_gap_ms=12345, jitter_ms=123.4, latency_p50_ms=123,
                     latency_p99_ms=1234, stamp_faults=1234, silent_ms=99999)
    lines = table(row, width=width)
    assert all(length(cells) <= max(width, 73) for cells in lines)
    headings = text(lines[:1])
    assert all(word in headings for word in ("msgs", "drops", "gap max", "latency", "silent"))
    assert ("refused" in headings) == (width >= 160)
    assert "image_raw" in text(lines)


def test_figures_of_a_recorder_that_is_not_heard_are_faint():
    assert {piece.tone for row in table(stream_row(IMAGE, 20, 30, 2), live=False) for piece in row} == {Tone.MUTED}


# The rest


def test_the_session_shows_target_disk_and_queue():
    now = status(queue_bytes=str(200 << 20), disk_free_bytes="43073741824")
    lines = session_lines(Snapshot(status=now, data_rate_bps=42e6), 100)
    assert "12 of 50" in text(lines) and "10 successes" in text(lines)
    assert "16 min at 42.0 MB/s" in text(lines) and tone_of(lines, "16 min") is Tone.WARN
    assert tone_of(lines, "78 %") is Tone.BAD
    low = session_lines(Snapshot(status=status(disk_free_bytes="1000000000")), 100)
    assert tone_of(low, "below the reserve") is Tone.BAD
    assert "MB/s" not in text(session_lines(Snapshot(status=status()), 100))
    assert " of " not in text(session_lines(Snapshot(status=status(target_episodes="")), 100))


@pytest.mark.parametrize("width", [80, 100, 140])
def test_reasons_and_refusals_are_shown_in_full(width):
    refusal = "recorder: start\n  got:     nobody publishes " + ", ".join(f"/camera_{k}/image" for k in range(9))
    reasons = "; ".join(f"/camera_{k}/image: {k} of 100 messages missing (5 % allowed)" for k in range(9))
    snapshot = Snapshot(status=stopped("bad", reasons, interrupted="2", error="disk full"), answer=refusal)
    lines = message_lines(snapshot, width)
    assert all(length(row) <= width for row in lines)
    words = text(lines).split()
    assert all(f"/camera_{k}/image:" in words for k in range(9)) and words.count("missing") == 9
    assert "/camera_8/image" in words
    assert "2 recordings were cut off: `autofocus episodes recover /data/episodes`" in " ".join(words)
    assert "disk full" in text(lines)


def test_the_title_gives_the_folder_what_room_there_is():
    lines = [title_line(Snapshot(status=status(output="/a/very/long/way/to/" + "x" * 60)), 80)]
    assert length(lines[0]) <= 80 and "lift the red cube" in text(lines) and "…" in text(lines)
    assert length(title_line(Snapshot(), 80)) < 80


@pytest.mark.parametrize("width", [80, 100, 200])
def test_the_footer_has_every_key_on_one_line(width):
    lines = footer_lines(Snapshot(status=recording()), width)
    assert len(lines) == 1 and length(lines[0]) <= width
    for key in ("space stop", "s success", "f failure", "d discard", "n note", "m sound", "l log", "? help", "q quit"):
        assert key in text(lines)
    assert len(footer_lines(Snapshot(), 60)) == 2


@pytest.mark.parametrize("width, height", [(80, 24), (80, 30), (120, 40), (200, 60), (40, 12)])
@pytest.mark.parametrize("now", [
    status(), recording(), recording(max_duration_s="60", last_grade="bad", last_reasons="; ".join("abcdefghijkl")),
    stopped("bad", "; ".join("abcdefghijkl"), error="e", interrupted="1"),
])
def test_the_picture_is_as_high_as_the_terminal(now, width, height):
    made = picture(Snapshot(status=now, events=("one", "two", "three", "four")), width, height)
    rows = sum(len(lines) for name, lines in made.parts.items() if name != "message") + made.message_rows
    assert rows == height or height < 24
    assert made.message_rows == len(made.parts["message"]) or len(made.parts["streams"]) <= 6


def test_the_data_rate_is_that_of_the_last_seconds_and_is_kept():
    rate = DataRate()
    rate.take(status())
    assert rate.bytes_per_s is None
    for tenth in range(100):  # 1 MB/s, then 3
        seconds = tenth / 10
        rate.take(recording(seconds, bytes_written=int(1e6 * seconds + 2e6 * max(seconds - 4, 0))))
    assert rate.bytes_per_s == pytest.approx(3e6, rel=0.01)
    rate.take(recording(0.1, episode="next", bytes_written=0))
    assert rate.bytes_per_s == pytest.approx(3e6, rel=0.01)


def test_numbers_read_as_people_write_them():
    assert [clock(s) for s in (0, 12.39, 3723.4)] == ["00:00.0", "00:12.3", "1:02:03.4"]
    assert [size(n) for n in (312_000, 4.2e6, 812e9, 1.5e12)] == ["312 kB", "4.2 MB", "812 GB", "1.5 TB"]
    assert [span_ms(n) for n in (41, 2300, 252_000, 1e7)] == ["41 ms", "2.3 s", "4 min", "3 h"]
    assert [span_s(n) for n in (48, 143 * 60, 5 * 3600 + 720, 1e6)] == ["48 s", "143 min", "5 h 12 min", "277 h"]
    assert shorten("/camera/color/image_raw", 12) == "…r/image_raw"
    assert "".join(piece.text for piece in bar(0.55, 10, Tone.GOOD)) == "━━━━━╸────"
    assert text(wrapped("a b c d e f g h i j k l m", 20, first="- ", rest="  ")) == "- a b c d e f g h i\n  j k l m"


def test_every_tone_has_a_look_and_without_colours_none_has_one():
    assert set(COLOURS) == set(MONOCHROME) == set(Tone)
    assert not any("ansi" in style for style in MONOCHROME.values())
    assert all("reverse" in MONOCHROME[tone] for tone in FILLED.values())
    assert not any("blink" in style for style in [*COLOURS.values(), *MONOCHROME.values()])


def test_the_view_is_plain_python():
    code = ("import sys; import demo_recorder.screen.picture;"
            "sys.exit(any(name in sys.modules for name in ('textual', 'rich', 'rclpy')))")
    assert subprocess.run([sys.executable, "-c", code], timeout=60).returncode == 0


def test_actions_are_of_this_robot():
    """The fakes are as the recorder's: a parsed default has every stream."""
    assert [stream.topic for stream in status().streams][:3] == [IMAGE, STATE, ACTION]
