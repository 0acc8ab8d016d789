"""The review page's server: what it shows of episodes in every form, and what decisions do on disk."""

import json

import cv2
import httpx
import numpy as np
import pytest
import review_folder as rf
from annotate_bags import FRAMES
from autofocus_core.errors import AutofocusError
from autofocus_core.review import read_review, read_reviewed, review_path
from rosbags.rosbag2 import StoragePlugin
from saliency_server.review.command import main


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    folder = tmp_path_factory.mktemp("episodes")
    rf.write_annotated(folder / "a_raw")
    rf.write_annotated(folder / "b_jpeg_sqlite", "jpeg", StoragePlugin.SQLITE3, wrong=True)
    rf.write_annotated(folder / "c_png", "png")
    rf.write_bag(folder / "d_bare")
    rf.write_annotated(folder / "e_damaged")
    (folder / "e_damaged.annotation/annotation.json").write_text('{"schema": 2, "episode": "e_damaged", "cameras": 3}')
    return folder


@pytest.fixture(autouse=True)
def nothing_decided(folder):
    for path in folder.glob("*.review.json"):
        path.unlink()


@pytest.fixture(scope="module")
def client(folder):
    with rf.serve(folder) as served, httpx.Client(base_url=served.base, follow_redirects=True) as client:
        assert client.get(f"/?token={rf.TOKEN}").status_code == 200
        client.headers.update({"origin": served.base, "x-review-token": rf.TOKEN})
        client.served = served
        yield client


def decide(client, name, **decision):
    answer = client.post(client.served.api(name) + "/review", json=decision)
    return answer.json() if answer.status_code == 200 else answer


def test_worst_first_and_damage_is_told(client):
    found = client.get("/api/episodes").json()["episodes"]
    assert [one["name"] for one in found] == ["d_bare", "e_damaged", "b_jpeg_sqlite", "a_raw", "c_png"]
    by_name = {one["name"]: one for one in found}
    assert by_name["d_bare"]["doubts"] == ["not annotated"]
    assert "annotation" in by_name["e_damaged"]["doubts"][0]
    assert any("jumps 1 times, first at frame 15" in doubt for doubt in by_name["b_jpeg_sqlite"]["doubts"])
    assert by_name["a_raw"]["coverage"][f"camera/{rf.THING}"] == pytest.approx(30 / 45, abs=1e-4)


@pytest.mark.parametrize("name", ["a_raw", "b_jpeg_sqlite", "c_png"])
def test_frames_by_number_in_any_order(client, name):
    """Frame i shows the cube where it was in frame i, whatever was asked for before."""
    for i in (44, 0, 20):
        answer = client.get(f"{client.served.api(name)}/frames/0/{i}")
        assert answer.headers["content-type"] == "image/jpeg"
        image = cv2.imdecode(np.frombuffer(answer.content, np.uint8), cv2.IMREAD_COLOR)
        assert image.shape == (240, 320, 3)
        x, y = (int(v) for v in np.array([100 + i, 120 - i // 3]))
        blue, _, red = image[y, x].tolist()
        assert red > 180 and blue < 70


@pytest.mark.parametrize("storage", [StoragePlugin.MCAP, StoragePlugin.SQLITE3])
def test_a_damaged_recording_is_shown_as_far_as_it_goes(tmp_path, storage):
    """A recording whose end was cut off was annotated as far as it went, but its card and its player had no picture."""
    rf.write_annotated(tmp_path / "cut", storage=storage, cut=True)
    with rf.serve(tmp_path) as served, httpx.Client(follow_redirects=True) as client:
        client.get(served.entry)
        one = client.get(served.api("cut")).json()
        assert any("the recording is damaged" in doubt for doubt in one["doubts"])
        assert client.get(served.api("cut") + "/thumbnail").content[:2] == b"\xff\xd8"
        shown = [client.get(f"{served.api('cut')}/frames/0/{i}").status_code for i in range(FRAMES)]
        whole = shown.count(200)
        assert FRAMES // 3 < whole < FRAMES and shown == [200] * whole + [404] * (FRAMES - whole)


def test_thumbnails_and_maps(client):
    for name in ("a_raw", "d_bare"):
        assert client.get(client.served.api(name) + "/thumbnail").content[:2] == b"\xff\xd8"
    answer = client.get(client.served.api("a_raw") + "/maps/0/10")
    alpha = cv2.imdecode(np.frombuffer(answer.content, np.uint8), cv2.IMREAD_UNCHANGED)[..., 3]
    assert alpha.shape == (60, 80) and alpha[29, 27] > 180 and alpha[55, 75] == 0
    assert client.get(client.served.api("a_raw") + "/maps/0/40").status_code == 204, "not valid: no map"


@pytest.mark.parametrize("path", ["/frames/0/45", "/frames/1/0", "/frames/0/-1", "/frames/0/1e3", "/nothing"])
def test_what_is_not_there_is_404(client, path):
    assert client.get(client.served.api("a_raw") + path).status_code == 404


def test_decisions_on_disk(client, folder):
    path = folder / "a_raw"
    decide(client, "a_raw", do="status", status="rejected")
    decide(client, "a_raw", do="note", note="arm hit the table\n<script>")
    shown = decide(client, "a_raw", do="drop", camera=0, object=rf.THING, dropped=True)
    assert all(shown["cameras"][0]["valid"]) and shown["cameras"][0]["objects"][1]["dropped"]
    review = read_review(path)
    assert (review.status, review.note) == ("rejected", "arm hit the table\n<script>")
    assert [track.name for track in read_reviewed(path).cameras[0].objects] == [rf.CUBE]
    shown = decide(client, "a_raw", do="drop", camera=0, object=rf.THING, dropped=False)
    assert len(read_reviewed(path).cameras[0].objects) == 2 and shown["status"] == "rejected"


def test_a_corrected_box_is_kept_and_followed(client, folder):
    """The annotator's track left the cube at frame 15; one box at frame 20 brings it back."""
    path = folder / "b_jpeg_sqlite"
    centre = np.array([120.5, 114.5])
    box = [*(centre - 10.5), *(centre + 10.5)]
    shown = decide(client, path.name, do="fix", camera=0, object=rf.CUBE, frame=20, box=box)
    assert shown["cameras"][0]["objects"][0]["fixes"] == [20]
    track = read_reviewed(path).cameras[0].object(rf.CUBE)
    np.testing.assert_allclose(track.boxes_px[20], box, atol=0.01)
    middle = (track.boxes_px[15:25, :2] + track.boxes_px[15:25, 2:]) / 2
    truth = np.array([(100 + i + 0.5, 120 - i // 3 + 0.5) for i in range(15, 25)])
    assert np.hypot(*(middle - truth).T).max() < 3.0
    shown = decide(client, path.name, do="unfix", camera=0, object=rf.CUBE, frame=20)
    assert not read_review(path).tracks and not shown["cameras"][0]["objects"][0]["fixes"]


def test_an_added_object_is_followed_and_can_be_taken_away(client, folder):
    decide(client, "c_png", do="add", camera=0, object="cube 2", role="tool", frame=0, box=[89, 109, 111, 131])
    track = read_reviewed(folder / "c_png").cameras[0].object("cube 2")
    assert track.role == "tool" and track.valid[:10].all()
    again = decide(client, "c_png", do="add", camera=0, object="cube 2", role="tool", frame=0, box=[9, 9, 20, 20])
    assert again.status_code == 422 and "not there yet" in again.json()["error"]
    decide(client, "c_png", do="unfix", camera=0, object="cube 2", frame=0)
    assert not read_review(folder / "c_png").added
    assert len(read_reviewed(folder / "c_png").cameras[0].objects) == 2


@pytest.mark.parametrize(
    "decision",
    [
        {"do": "format the disk"}, {"do": "status", "status": "fine"}, {"do": "status"}, {"do": "note", "note": 3},
        {"do": "note", "note": "x" * 4001}, {"do": "drop", "camera": 0, "object": rf.CUBE, "dropped": "yes"},
        {"do": "drop", "camera": 9, "object": rf.CUBE, "dropped": True},
        {"do": "drop", "camera": 0, "object": "nobody", "dropped": True},
        {"do": "drop", "camera": 0, "object": rf.CUBE, "dropped": True, "path": "/etc/passwd"},
        {"do": "fix", "camera": 0, "object": rf.CUBE, "frame": FRAMES, "box": [1, 1, 9, 9]},
        {"do": "fix", "camera": 0, "object": rf.CUBE, "frame": 0, "box": [9, 9, 1, 1]},
        {"do": "fix", "camera": 0, "object": rf.CUBE, "frame": 0, "box": [900, 900, 990, 990]},
        {"do": "fix", "camera": 0, "object": rf.CUBE, "frame": 0, "box": [1, 1, 9]},
        {"do": "fix", "camera": 0, "object": [rf.CUBE], "frame": True, "box": "all"},
        {"do": "add", "camera": 0, "object": "x\u0000y", "role": "tool", "frame": 0, "box": [1, 1, 9, 9]},
        {"do": "add", "camera": 0, "object": "y" * 81, "role": "tool", "frame": 0, "box": [1, 1, 9, 9]},
        ["do"], "do", 3,
    ],
)  # fmt: skip
def test_what_is_no_decision_is_refused_and_nothing_written(client, folder, decision):
    answer = client.post(client.served.api("a_raw") + "/review", content=json.dumps(decision),
                         headers={"content-type": "application/json"})  # fmt: skip
    assert answer.status_code == 422 and answer.json()["error"]
    assert not review_path(folder / "a_raw").exists()


def test_a_damaged_review_is_told_and_not_overwritten(client, folder):
    review_path(folder / "a_raw").write_text("{}")
    shown = client.get(client.served.api("a_raw")).json()
    assert "no 'schema'" in shown["problem"]
    assert decide(client, "a_raw", do="status", status="accepted").status_code == 422
    assert review_path(folder / "a_raw").read_text() == "{}"


def test_a_new_annotation_is_seen_without_a_restart(client, folder):
    path = folder / "c_png.annotation/annotation.json"
    before = path.read_text()
    try:
        path.write_text(before.replace('"lift the red cube"', '"lift it now"'))
        assert client.get(client.served.api("c_png")).json()["instruction"] == "lift it now"
    finally:
        path.write_text(before)


def test_a_taken_port_and_a_missing_folder_are_said(folder, tmp_path):
    with rf.serve(folder) as served, pytest.raises(AutofocusError, match="a free port"):
        main([str(folder), "--port", served.base.rpartition(":")[2]])
    with pytest.raises(AutofocusError, match="does not exist"):
        main([str(tmp_path / "nothing")])
