"""The review page in a real browser: what a person does there is on the disk, and training goes by it."""

import shutil
from pathlib import Path

import numpy as np
import pytest
import review_folder as rf
from autofocus_core.review import read_review, read_reviewed
from autofocus_core.schema import load_robot
from autofocus_training.selection import select_episodes

sync_api = pytest.importorskip("playwright.sync_api", reason="the Python package playwright is not installed")
NAMES = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable")
BROWSER = next((found for name in NAMES if (found := shutil.which(name))), None)
pytestmark = pytest.mark.skipif(BROWSER is None, reason=f"no browser: none of {', '.join(NAMES)} is installed")
ROBOT = Path(__file__).parents[2] / "ros2_ws/src/autofocus_sim/config/sim_arm.yaml"


@pytest.fixture
def folder(tmp_path):
    rf.write_annotated(tmp_path / "fine")
    rf.write_annotated(tmp_path / "switched", "jpeg", wrong=True)
    return tmp_path


@pytest.fixture
def page(folder):
    """The grid, open; whatever the browser complains about fails the test."""
    complaints = []
    with rf.serve(folder) as served, sync_api.sync_playwright() as play:
        browser = play.chromium.launch(executable_path=BROWSER, args=["--no-sandbox", "--disable-gpu"])
        page = browser.new_page(viewport={"width": 1280, "height": 900})
        page.set_default_timeout(20_000)
        page.on("pageerror", lambda error: complaints.append(str(error)))
        page.on("console", lambda message: complaints.append(message.text) if message.type == "error" else None)
        page.on("dialog", lambda dialog: complaints.append(f"dialog: {dialog.message}"))
        page.goto(served.entry)
        page.wait_for_selector(".card")
        yield page
        browser.close()
    assert not complaints


def saved(page, act):
    """Do it, and wait until the server has answered."""
    with page.expect_response(lambda answer: answer.url.endswith("/review")) as answer:
        act()
    assert answer.value.status == 200, answer.value.text()


def test_a_person_corrects_drops_and_rejects(page, folder):
    # Worst first: the one whose track jumps. Names with markup are text.
    assert page.locator(".card").evaluate_all("cards => cards.map(c => c.dataset.name)") == ["switched", "fine"]
    assert "jumps 1 times" in page.locator(".card").first.inner_text()
    page.locator(".card").first.click()
    page.wait_for_selector("#objects li")
    assert page.locator("#objects .label").all_inner_texts() == [rf.CUBE, rf.THING]
    assert "/?token" not in page.url

    # Correct the cube's box in frame 20 by dragging: it is followed from there, and the frames say so.
    page.keyboard.press("1")
    for key in ("Shift+ArrowRight", "Shift+ArrowRight"):
        page.keyboard.press(key)
    view = page.wait_for_selector('#view[data-frame="20"]')
    on_screen = view.bounding_box()
    scale = min(on_screen["width"] / 320, on_screen["height"] / 240)
    left = on_screen["x"] + (on_screen["width"] - 320 * scale) / 2
    corners = [(left + x * scale, on_screen["y"] + y * scale) for x, y in ((110, 104), (131, 125))]

    def drag():
        page.mouse.move(*corners[0])
        page.mouse.down()
        page.mouse.move(*corners[1], steps=4)
        page.mouse.up()

    saved(page, drag)
    page.wait_for_selector("#objects .undo")
    fix = read_review(folder / "switched").corrected[0]
    assert fix.object == rf.CUBE and np.allclose(fix.box_px, (110, 104, 131, 125), atol=1.5)
    track = read_reviewed(folder / "switched").cameras[0].object(rf.CUBE)
    middle = (track.boxes_px[15:26, :2] + track.boxes_px[15:26, 2:]) / 2
    truth = np.array([(100.5 + i, 120.5 - i // 3) for i in range(15, 26)])
    assert np.hypot(*(middle - truth).T).max() < 4.0

    # Drop the other object: frames that lacked it are valid now. Taken back, they are not.
    saved(page, page.locator("#objects li").nth(1).locator(".drop").click)
    assert [t.name for t in read_reviewed(folder / "switched").cameras[0].objects] == [rf.CUBE]
    page.wait_for_selector("#objects li.dropped")
    saved(page, page.locator("#objects li").nth(1).locator(".drop").click)
    assert len(read_reviewed(folder / "switched").cameras[0].objects) == 2

    # Note, accept; the next one is rejected by a key, and training leaves it out.
    page.fill("#note", "lamp <script>alert(1)</script> moved")
    saved(page, lambda: page.locator("#note").blur())
    saved(page, lambda: page.keyboard.press("a"))
    page.keyboard.press("n")
    page.locator("#name", has_text="fine").wait_for()
    saved(page, lambda: page.keyboard.press("r"))
    assert read_review(folder / "switched").note == "lamp <script>alert(1)</script> moved"
    assert (read_review(folder / "switched").status, read_review(folder / "fine").status) == ("accepted", "rejected")
    selection = select_episodes([folder], load_robot(ROBOT))
    assert [e.id for e in selection.kept] == ["switched"] and [e.id for e in selection.rejected] == ["fine"]

    # Back in the grid both show it.
    page.keyboard.press("Escape")
    page.locator(".card .badge.rejected").wait_for()
    assert "1 accepted, 1 rejected" in page.locator("#counts").inner_text()


def test_a_missing_object_is_added_and_frames_play(page, folder):
    page.locator('.card[data-name="fine"]').click()
    page.wait_for_selector("#objects li")
    page.fill("#new-name", "red cup")
    page.select_option("#new-role", "goal")
    page.click("#new-draw")
    view = page.locator("#view")
    box = view.bounding_box()
    page.mouse.move(box["x"] + box["width"] * 0.5, box["y"] + box["height"] * 0.6)
    page.mouse.down()
    page.mouse.move(box["x"] + box["width"] * 0.6, box["y"] + box["height"] * 0.8, steps=3)
    saved(page, page.mouse.up)
    page.locator("#objects li", has_text="red cup").wait_for()
    assert read_review(folder / "fine").added[0].object == "red cup"
    assert read_reviewed(folder / "fine").cameras[0].object("red cup").role == "goal"
    page.locator("#play").click()
    page.wait_for_selector('#view[data-frame="44"]')
