"""The report of `autofocus evaluate` in a real browser: nothing from elsewhere, light and dark, wide and narrow."""

import shutil

import policy_files as files
import pytest
from autofocus_policy.offline import main
from evaluation_bags import annotate, write_bag

sync_api = pytest.importorskip("playwright.sync_api", reason="the Python package playwright is not installed")
NAMES = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable")
BROWSER = next((found for name in NAMES if (found := shutil.which(name))), None)
pytestmark = pytest.mark.skipif(BROWSER is None, reason=f"no browser: none of {', '.join(NAMES)} is installed")


def test_the_report_is_whole_in_itself(tmp_path):
    bag = write_bag(tmp_path / "bag", seconds=2.0)
    annotate(bag)
    policy = files.write_policy(tmp_path / "policy.pt")
    report = tmp_path / "report.html"
    assert main([str(policy), str(bag), "--robot", str(files.SIM_ROBOT_YAML), "--report", str(report)]) == 0
    with sync_api.sync_playwright() as play:
        browser = play.chromium.launch(executable_path=BROWSER, args=["--no-sandbox", "--disable-gpu"])
        colours = set()
        for scheme, width in (("light", 1200), ("dark", 1200), ("light", 420)):
            asked, complaints = [], []
            page = browser.new_page(viewport={"width": width, "height": 900}, color_scheme=scheme)
            page.on("request", lambda r, asked=asked: asked.append(r.url) if not r.url.startswith("data:") else None)
            page.on("console", lambda m, complaints=complaints: complaints.append(m.text))
            page.on("pageerror", lambda e, complaints=complaints: complaints.append(str(e)))
            page.goto(report.as_uri())
            assert asked == [report.as_uri()] and not complaints
            assert page.evaluate("document.documentElement.scrollWidth") <= width
            broken = "[...document.images].filter(i => !i.complete || !i.naturalWidth).length"
            assert page.locator("img").count() >= 4 and page.evaluate(broken) == 0
            # The verdict is seen without scrolling.
            assert page.locator(".verdict").first.bounding_box()["y"] < 600
            colours.add(page.evaluate("getComputedStyle(document.body).backgroundColor"))
            page.close()
        browser.close()
    assert len(colours) == 2
