"""The demo's summary: the agreed keys, honest intervals, seeds never pooled only, expectations told as they are."""

import json

import pytest
from autofocus_cli.demo import cells, summary
from cli_artefacts import artefacts

WALL_S = {"record": 100.0, "train": 200.5}


@pytest.fixture
def built() -> dict:
    return summary.build(artefacts(), WALL_S)


def test_keys_that_others_read(built):
    assert built["demos"] == 40 and built["demos_failed"] == 1 and built["demos_trained_on"] == 35
    for method in ("bc", "autofocus"):
        for block in (built["policies"][method], built["policies"][method]["deployed"]):
            for cell in ("nominal", "confounded"):
                assert {"successes", "rollouts", "success", "ci95", "per_seed"} <= block[cell].keys()
    assert {"coverage", "centre_error_px_p50", "centre_error_px_p95"} <= built["annotation"].keys()
    assert {"latency_ms_p50", "latency_ms_p99", "period_ms_p99"} <= built["policy_node"].keys()
    assert built["wall_s"] == {"record": 100.0, "train": 200.5, "total": 300.5}
    assert json.loads(json.dumps(built)) == built


def test_seeds_are_given_apart(built):
    block = built["policies"]["bc"]["nominal"]
    assert block["rollouts"] == 90 and block["successes"] == 63
    assert {seed: part["rollouts"] for seed, part in block["per_seed"].items()} == {"0": 30, "1": 30, "2": 30}


def test_expectations_met_and_missed(built):
    met = {name: ok for name, _, _, _, ok in summary.expectations(built)}
    assert all(met.values())
    built["policies"]["autofocus"]["confounded"]["success"] = 0.55
    missed = [name for name, _, _, _, ok in summary.expectations(built) if not ok]
    assert missed == ["AutoFocus, confounded, in-process, 90 rollouts"]


def test_more_than_twice_the_baseline_is_needed_too(built):
    built["policies"]["bc"]["confounded"]["success"] = 0.5
    missed = [name for name, *_, ok in summary.expectations(built) if not ok]
    assert missed == ["AutoFocus, confounded, in-process, 90 rollouts"]


def test_percentile_of_a_histogram_is_an_upper_edge():
    histogram = {"bin_ms": 0.5, "counts": {"3": 98, "40": 2}}
    assert summary.histogram_percentile(histogram, 50) == 2.0
    assert summary.histogram_percentile(histogram, 99) == 20.5
    assert summary.histogram_percentile({"bin_ms": 0.5, "counts": {}}, 50) is None


def test_histograms_of_several_policy_nodes_add_up():
    one, two = '{"bin_ms": 0.5, "counts": {"3": 1}}', '{"bin_ms": 0.5, "counts": {"3": 2, "10": 4}}'
    assert cells.add_histograms([one, two]) == {"bin_ms": 0.5, "counts": {"3": 3, "10": 4}}
    with pytest.raises(ValueError, match="bins"):
        cells.add_histograms([one, '{"bin_ms": 1.0, "counts": {}}'])


def test_figures_go_to_the_results_folder(built, tmp_path, monkeypatch):
    monkeypatch.setenv("AUTOFOCUS_RESULTS", str(tmp_path))
    summary.record_results(built)
    rows = json.loads((tmp_path / "demo.json").read_text())
    assert {"name", "value", "unit", "target", "ok", "command", "commit", "date"} == rows[0].keys()
    assert any(row["name"] == "policy node latency_ms_p99" for row in rows)
