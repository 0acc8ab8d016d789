"""The recording screen with a fake recorder: every key, what it asks for, and what is seen of the answer."""

import asyncio
import threading
import time

import pytest
from autofocus_core.errors import AutofocusError
from demo_recorder.screen import snapshot as snapshot_module
from demo_recorder.screen.app import RecordApp
from demo_recorder.screen.client import Answer
from demo_recorder.screen.dialogs import Help, Log, Note, Question
from demo_recorder.screen.layout import Block
from screen_fakes import IMAGE, STATE, FakeClient, FakeProcess, recording, status, stopped, stream_row

REFUSAL = (
    "recorder: start\n  got:     nobody publishes /camera/camera/color/image_raw, /joint_states\n"
    "  allowed: a publisher for each required topic\n  fix:     start what publishes it"
)


class Stage:
    """A running app with its fake recorder, in a terminal of a size."""

    def __init__(self, app, pilot, client, process):
        self.app, self.pilot, self.client, self.process = app, pilot, client, process
        self.bells = []
        app.bell = lambda: self.bells.append(time.monotonic())

    async def press(self, *keys):
        await self.pilot.press(*keys)
        await self.until(lambda: not self.app._pending, "the answer")
        await self.pilot.pause()

    async def send(self, *statuses):
        for each in statuses:
            self.client.send(each)
        await self.pilot.pause()
        await self.until(lambda: not self.app._draw_planned, "the picture")
        await self.pilot.pause()

    async def until(self, condition, what, timeout_s=10.0):
        deadline_s = time.monotonic() + timeout_s
        while not condition():
            assert time.monotonic() < deadline_s, f"waited in vain for {what}"
            await asyncio.sleep(0.01)

    def shown(self, *ids):
        """The text of these parts, of all without ids."""
        return " ".join(
            word
            for block in self.app.screen_stack[0].query(Block) if not ids or block.id in ids
            for word in block.text.split()
        )  # fmt: skip

    def seen(self):
        """What is really on the terminal, line by line."""
        return [
            "".join(segment.text for segment in strip)
            for strip in self.app.screen._compositor.render_strips(self.app.screen.size)
        ]


def screen(script, size=(80, 24), process=True, **options):
    """Run `script(stage)` on an app; whatever it raises fails the test."""

    async def main():
        client, child = FakeClient(), FakeProcess() if process else None
        app = RecordApp(client, child, **options)
        async with app.run_test(size=size) as pilot:
            await script(Stage(app, pilot, client, child))

    asyncio.run(main())


def test_space_starts_and_stops():
    async def script(stage):
        await stage.send(status())
        assert "space start" in stage.shown("footer")
        stage.client.after = {"start": recording(0.0), "stop": stopped()}
        await stage.press("space")
        assert stage.client.asked == ["start"] and "space stop" in stage.shown("footer")
        await stage.press("space")
        assert stage.client.asked == ["start", "stop"] and "good" in stage.shown("message")

    screen(script)


def test_space_cancels_a_countdown():
    async def script(stage):
        await stage.send(status(state="countdown", countdown_s="2.6"))
        await stage.press("space")
        assert stage.client.asked == ["stop"]

    screen(script)


@pytest.mark.parametrize("key, outcome", [("s", "success"), ("f", "failure")])
def test_an_outcome_ends_the_running_episode_and_changes_the_last(key, outcome):
    async def script(stage):
        await stage.send(recording())
        stage.client.after = {"stop": stopped()}
        await stage.press(key)
        assert stage.client.asked == [outcome, "stop"]
        await stage.press(key)
        assert stage.client.asked == [outcome, "stop", outcome]

    screen(script)


def test_an_outcome_that_is_refused_does_not_keep_the_episode_running():
    async def script(stage):
        await stage.send(recording())
        stage.client.answers["success"] = Answer(False, "sidecar cannot be written")
        await stage.press("s")
        assert stage.client.asked == ["success", "stop"] and "sidecar cannot be written" in stage.shown("message")

    screen(script)


def test_discard_asks_only_for_an_episode_that_is_on_disk():
    async def script(stage):
        await stage.send(recording())
        await stage.press("d")
        assert stage.client.asked == ["discard"]
        await stage.send(stopped())
        await stage.press("d")
        assert isinstance(stage.app.screen, Question) and stage.client.asked == ["discard"]
        await stage.press("n")
        assert not isinstance(stage.app.screen, Question) and stage.client.asked == ["discard"]
        await stage.press("d", "y")
        assert stage.client.asked == ["discard", "discard"]

    screen(script)


def test_a_question_about_an_episode_is_not_answered_for_the_next():
    """While the question stood there, somebody pressed start on the gamepad: y must not throw that one away."""

    async def script(stage):
        await stage.send(stopped())
        await stage.press("d")
        await stage.send(recording(0.5, episode="lift_next"))
        await stage.press("y")
        assert stage.client.asked == [] and "not discarded" in stage.shown("message")

    screen(script)


def test_a_note_is_written_on_a_line_of_its_own():
    async def script(stage):
        await stage.send(status())
        await stage.press("n")
        assert "No episode" in stage.shown("message") and not isinstance(stage.app.screen, Note)
        await stage.send(stopped(note="left "))
        await stage.press("n")
        assert isinstance(stage.app.screen, Note) and any("lift_2026" in line for line in stage.seen())
        await stage.press("s", "q", "space", "d", "enter")  # keys of the screen are letters here
        assert stage.client.asked == ["note left sq d"]
        await stage.press("n", "x", "escape")
        assert stage.client.asked == ["note left sq d"] and stage.app.is_running

    screen(script)


def test_sound_rings_for_start_stop_bad_and_loss(monkeypatch):
    async def script(stage):
        await stage.send(status())
        await stage.send(recording())
        await asyncio.sleep(0.1)
        assert stage.bells == []  # off unless asked for
        await stage.press("m")
        assert "Sound on" in stage.shown("message") and "sound off" in stage.shown("footer")
        await stage.until(lambda: len(stage.bells) == 1, "the bell that tells that it is on")
        for now, rings in ((stopped(), 2), (recording(episode="b"), 1), (stopped("bad", last_episode="b"), 3)):
            stage.bells.clear()
            await stage.send(now)
            await stage.until(lambda rings=rings: len(stage.bells) == rings, f"{rings} bells")
            await asyncio.sleep(0.3)
            assert len(stage.bells) == rings
        stage.bells.clear()
        stage.process.code = -9
        await stage.until(lambda: len(stage.bells) == 3, "the alarm for a recorder that has ended")
        stage.bells.clear()
        await stage.press("m")
        await asyncio.sleep(0.1)
        assert stage.bells == []

    screen(script)


def test_the_log_goes_on_while_it_is_looked_at():
    async def script(stage):
        await stage.send(recording())
        await stage.press("l")
        assert isinstance(stage.app.screen, Log)
        assert any("[demo_recorder]: ready" in line for line in stage.seen())
        assert any("recorder.log" in line for line in stage.seen())
        stage.process.log += "".join(f"\nline {k}" for k in range(100))
        await stage.until(lambda: any("line 99" in line for line in stage.seen()), "the log's new end")
        await stage.press("l")
        assert not isinstance(stage.app.screen, Log)

    screen(script)


def test_an_attached_screen_has_no_log_and_leaves_the_recorder_alone():
    async def script(stage):
        await stage.send(recording())
        await stage.press("l")
        assert "its log is there" in stage.shown("message")
        await stage.press("q")
        assert isinstance(stage.app.screen, Question) and "goes on recording" in "\n".join(stage.seen())
        await stage.press("y")
        assert not stage.app.is_running and stage.client.asked == []

    screen(script, process=False)


@pytest.mark.parametrize("key", ["question_mark", "h"])
def test_help_tells_every_key_and_column_also_on_a_small_terminal(key):
    async def script(stage):
        await stage.send(status())
        await stage.press(key)
        assert isinstance(stage.app.screen, Help)
        seen = "\n".join(stage.seen())
        assert all(word in seen for word in ("space", "discard", "note", "drops", "latency", "quality rules", "esc"))
        await stage.press("escape")
        assert not isinstance(stage.app.screen, Help)

    screen(script)


@pytest.mark.parametrize("key", ["q", "ctrl+c", "ctrl+q"])
def test_quit_asks_only_while_something_is_recorded(key):
    async def idle(stage):
        await stage.send(status())
        await stage.press(key)
        assert not stage.app.is_running

    async def busy(stage):
        await stage.send(recording())
        await stage.press(key)
        assert isinstance(stage.app.screen, Question) and "kept" in "\n".join(stage.seen())
        await stage.press("n")
        assert stage.app.is_running and not isinstance(stage.app.screen, Question)
        await stage.press(key, "y")
        assert not stage.app.is_running and stage.client.asked == []  # SIGINT ends the recorder in order

    screen(idle)
    screen(busy)


def test_a_refused_start_stays_in_full_until_the_next_key():
    async def script(stage):
        await stage.send(status([stream_row(IMAGE, 0, 30, 2, publishers=0), stream_row(STATE, 100, 100)]))
        stage.client.answers["start"] = Answer(False, REFUSAL)
        await stage.press("space")
        for _ in range(3):
            await stage.send(status())
        seen = " ".join("\n".join(stage.seen()).split())
        assert "refused" in seen and "nobody publishes /camera/camera/color/image_raw, /joint_states" in seen
        assert "start what publishes it" in seen
        del stage.client.answers["start"]
        await stage.press("space")
        assert "refused" not in stage.shown("message")

    screen(script)


def test_a_second_key_waits_for_the_first_answer():
    async def script(stage):
        await stage.send(status())
        stage.client.hold["start"] = threading.Event()
        await stage.pilot.press("space")
        await stage.pilot.pause()
        assert "waiting for the recorder's answer" in stage.shown("banner")
        await stage.pilot.press("space")
        await stage.pilot.pause()
        assert "has not answered to start yet" in stage.shown("message") and stage.client.asked == ["start"]
        stage.client.hold["start"].set()
        await stage.until(lambda: not stage.app._pending, "the answer")
        await stage.press("space")
        assert stage.client.asked == ["start", "start"]

    screen(script)


def test_a_lost_answer_does_not_keep_the_episode_from_being_stopped():
    """The recorder had started, its answer was lost: for 15 s the screen would wait, and nobody could stop it."""

    async def script(stage):
        await stage.send(status())
        stage.client.hold["start"] = threading.Event()
        await stage.pilot.press("space")
        await stage.send(recording(0.0))
        assert "waiting" not in stage.shown("banner")
        stage.client.hold["stop"] = threading.Event()
        await stage.pilot.press("space")
        await stage.until(lambda: stage.client.asked == ["start", "stop"], "the stop")
        stage.client.hold["start"].set()  # the late answer is to another question
        await stage.pilot.pause()
        await asyncio.sleep(0.1)
        assert stage.app._pending == "stop"
        stage.client.hold["stop"].set()
        await stage.until(lambda: not stage.app._pending, "the answer")

    screen(script)


def test_it_can_be_left_while_the_recorder_does_not_answer():
    async def script(stage):
        await stage.send(status())
        stage.client.hold["start"] = threading.Event()
        await stage.pilot.press("space", "q")
        await stage.until(lambda: not stage.app.is_running, "the end")

    begin = time.monotonic()
    screen(script)
    assert time.monotonic() - begin < 8.0  # the request itself would hang for 10 s


def test_silence_is_shown_after_two_seconds_and_forgotten_at_the_next_word(monkeypatch):
    monkeypatch.setattr(snapshot_module, "STALE_S", 0.3)

    async def script(stage):
        await stage.send(recording())
        assert "space stop" in stage.shown("footer") and "silent" not in stage.shown("banner")
        await stage.until(lambda: "has been silent for" in stage.shown("banner"), "the alarm")
        assert "stop" not in stage.shown("footer")
        assert "lift_20260301_101500_250" in stage.shown("banner")
        await stage.send(recording(20.0))
        assert "silent" not in stage.shown("banner") and "space stop" in stage.shown("footer")

    screen(script)


def test_a_recorder_that_dies_is_told_and_one_that_never_ran_ends_the_screen():
    async def died(stage):
        await stage.send(recording())
        stage.process.code = -9
        await stage.until(lambda: "has ended by itself, status -9" in stage.shown("banner"), "the alarm")
        assert "episodes recover /data/episodes" in stage.shown("banner")
        await stage.press("q")
        assert not stage.app.is_running

    async def never_ran(stage):
        stage.process.code = 2
        await stage.until(lambda: not stage.app.is_running, "the end")

    screen(died)
    screen(never_ran)


def test_a_status_of_another_version_is_told():
    async def script(stage):
        await stage.send(AutofocusError("status: queue_bytes", "not there", "every key", "same version"))
        assert "queue_bytes" in stage.shown("banner")
        await stage.send(status())
        assert "queue_bytes" not in stage.shown("banner")

    screen(script)


def test_events_are_kept_with_their_time():
    async def script(stage):
        for k in range(5):
            await stage.send(recording(float(k), events=k, last_event=f"gap number {k}" if k else ""))
            await stage.send(recording(k + 0.5, events=k, last_event=f"gap number {k}" if k else ""))
        shown = stage.shown("message")
        assert shown.count("gap number") == 3 and shown.index("number 4") < shown.index("number 3")

    screen(script)


BAD = "; ".join([
    "/camera/camera/color/image_raw: longest gap 2034 ms is 61 periods (10 allowed)",
    "/camera/camera/color/image_raw: 61 of 372 messages missing, 16.4 % (5 % allowed)",
    "/joint_states: 3 messages lost",
])


@pytest.mark.parametrize("size", [(80, 24), (100, 30), (132, 43), (200, 60)])
def test_what_matters_is_on_the_terminal_at_every_size(size):
    async def script(stage):
        await stage.send(recording(12.3, max_duration_s="60"))
        seen = stage.seen()
        assert len(seen) == size[1] and all(len(line) == size[0] for line in seen)
        text = "\n".join(seen)
        for part in ("lift the red cube", "█▀▄ █▀▀ █▀▀", "/joint_states", "100.0 / 100", "1230", "12 of 50", "812 GB",
                     "space stop", "q quit", "image_raw"):
            assert part in text, part
        await stage.send(stopped("bad", BAD))
        text = " ".join("\n".join(stage.seen()).split())
        assert "2034 ms is 61 periods" in text and "3 messages lost" in text and "space start" in text

    screen(script, size=size)


def test_a_terminal_that_is_resized_is_laid_out_anew():
    async def script(stage):
        await stage.send(recording())
        for size in ((200, 50), (80, 24), (40, 12), (20, 5), (100, 30)):
            await stage.pilot.resize_terminal(*size)
            await stage.send(recording(13.0))
            assert len(stage.seen()) == size[1]
        assert "space stop" in "\n".join(stage.seen())

    screen(script)


def test_more_reasons_than_fit_can_be_scrolled():
    async def script(stage):
        await stage.send(stopped("bad", "; ".join(f"reason number {k}" for k in range(20))))
        assert "reason number 19" not in "\n".join(stage.seen())
        for _ in range(20):
            await stage.pilot.press("down")
        await stage.pilot.pause()
        assert "reason number 19" in "\n".join(stage.seen())

    screen(script)


@pytest.mark.parametrize("no_color", [False, True])
def test_colours_are_the_terminals_own_or_none(monkeypatch, no_color):
    """No true colour: what the terminal's owner chose for red is readable on the background that he chose."""
    monkeypatch.delenv("NO_COLOR", raising=False)
    if no_color:
        monkeypatch.setenv("NO_COLOR", "1")

    async def script(stage):
        await stage.send(recording())
        colours, reverse = set(), False
        for strip in stage.app.screen._compositor.render_strips(stage.app.screen.size):
            for line_filter in stage.app._filters:
                if line_filter.enabled:
                    strip = strip.apply_filter(line_filter, stage.app.background_colors[1])
            for segment in strip:
                if segment.style is not None:
                    colours |= {segment.style.color, segment.style.bgcolor}
                    reverse |= bool(segment.style.reverse)
        names = {colour.name for colour in colours - {None}}
        assert all(colour.triplet is None for colour in colours - {None}), names
        assert names <= {"default"} and reverse if no_color else "color(2)" in names

    screen(script)


def test_nothing_is_painted_again_that_has_not_changed():
    async def script(stage):
        await stage.send(status())
        painted = []
        for block in stage.app.query(Block):
            block.update = lambda *_, id=block.id, **__: painted.append(id)
        for _ in range(5):
            await stage.send(status())
        assert painted == []

    screen(script)
