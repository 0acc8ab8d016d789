"""The demo's report: one file, nothing from outside, no figure that is not in the summary."""

import json
import re
from html.parser import HTMLParser

import numpy as np
import pytest
from autofocus_cli.demo import pictures, report, summary, svg
from autofocus_cli.demo.settings import Paths
from cli_artefacts import artefacts

VOID = {"meta", "img", "br"}


class Balance(HTMLParser):
    """Collects tags that are closed wrongly."""

    def __init__(self) -> None:
        super().__init__()
        self.open: list[str] = []
        self.wrong: list[str] = []

    def handle_starttag(self, tag, attrs):
        if tag not in VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag, attrs):
        pass

    def handle_endtag(self, tag):
        if not self.open or self.open.pop() != tag:
            self.wrong.append(tag)


@pytest.fixture
def page(tmp_path) -> str:
    paths = Paths(tmp_path)
    paths.stages.mkdir()
    found = artefacts()
    for name, content in found.items():
        (paths.stages / f"{name}.json").write_text(json.dumps(content))
    paths.summary.write_text(json.dumps(summary.build(found, {"record": 100.0, "train": 200.0})))
    pictures.save_jpeg(tmp_path / "pictures" / "demonstration_0.jpg", np.zeros((24, 32, 3), np.uint8))
    return report.build(paths)


def test_page_is_self_contained(page):
    assert not re.findall(r'(?:src|href)="(?!data:)', page)
    assert "http://" not in page and "https://" not in page and "<script" not in page and "@import" not in page


def test_tags_are_balanced(page):
    balance = Balance()
    balance.feed(page)
    assert balance.wrong == [] and balance.open == []


def test_figures_are_the_summarys(page):
    assert "63/90" in page and "27/90" in page
    assert "9/12" in page or "3/12" in page or "6/12" in page


def test_a_missing_picture_is_said_and_not_hidden(page):
    assert "no picture: filmstrip_0" in page
    assert "no picture: demonstration_0" not in page


def test_text_from_outside_is_escaped(tmp_path):
    found = artefacts()
    found["setup"]["settings"]["instruction"] = "<script>alert(1)</script>"
    paths = Paths(tmp_path)
    paths.stages.mkdir()
    for name, content in found.items():
        (paths.stages / f"{name}.json").write_text(json.dumps(content))
    paths.summary.write_text(json.dumps(summary.build(found, {"record": 1.0})))
    assert "<script" not in report.build(paths)


def test_charts_of_nothing_say_so():
    assert "nothing was measured" in svg.histogram([], "ms", "empty", {})
    assert "nothing was measured" in svg.paired_bars({}, "rad", "empty")
    chart = svg.success_chart({"nominal": [svg.SuccessBar("bc", None, (0.0, 1.0), ())]}, "empty")
    assert "not run" in chart


def test_share_inside_boxes():
    heat = np.zeros((10, 10))
    heat[2, 2] = heat[8, 8] = 1.0
    box = np.array([20.0, 20.0, 30.0, 30.0])
    assert pictures.share_inside(heat, [box], (100, 100)) == 0.5
    assert pictures.share_inside(heat, [np.full(4, np.nan)], (100, 100)) == 0.0
    assert pictures.share_inside(np.zeros((10, 10)), [box], (100, 100)) == 0.0
