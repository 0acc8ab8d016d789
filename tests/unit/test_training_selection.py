"""Which episodes are learned from: not failures, not bad recordings, and it is said which were left out."""

from __future__ import annotations

import pytest
import training_bags as bags
from autofocus_core.episode_meta import Trim, Verdict
from autofocus_core.errors import AutofocusError
from autofocus_training import train
from autofocus_training.selection import select_episodes


@pytest.fixture
def folder(tmp_path):
    """One episode of each sort; they have ten frames each."""
    sorts = {
        "a_foreign": None,
        "b_good": {"verdict": Verdict("good")},
        "c_usable": {"verdict": Verdict("usable", ("late",)), "outcome": "success"},
        "d_bad": {"verdict": Verdict("bad", ("lost",)), "outcome": "success"},
        "e_failure": {"verdict": Verdict("bad", ("lost",)), "outcome": "failure"},
        "f_trimmed": {"trim": Trim(bags.START_NS, bags.START_NS + 5 * bags.FRAME_NS, "by hand")},
        "g_bad": {"verdict": Verdict("bad", ("killed",))},
    }
    for name, changes in sorts.items():
        bags.write_episode(tmp_path / "episodes" / name, frames=10)
        if changes is not None:
            bags.write_sidecar(tmp_path / "episodes" / name, **changes)
    return tmp_path / "episodes"


def ids(episodes):
    return [episode.id for episode in episodes]


def test_failures_and_bad_recordings_are_left_out_by_name(folder):
    found = select_episodes([folder], bags.robot())
    assert ids(found.kept) == ["a_foreign", "b_good", "c_usable", "f_trimmed"]
    assert (ids(found.failures), ids(found.bad)) == (["e_failure"], ["d_bad", "g_bad"])
    text = "\n".join(found.lines())
    assert "left out 1 episodes marked as failures" in text
    assert "left out 2 episodes whose recording is bad: d_bad, g_bad (" in text and "--include-bad" in text
    assert "1 of 4 episodes are trimmed" in text


def test_bad_recordings_can_be_taken_failures_not(folder):
    found = select_episodes([folder], bags.robot(), include_bad=True)
    assert ids(found.kept) == ["a_foreign", "b_good", "c_usable", "d_bad", "f_trimmed", "g_bad"]
    assert ids(found.failures) == ["e_failure"] and not found.bad


def test_nothing_left_says_what_was_there(folder):
    with pytest.raises(AutofocusError, match="3: 1 marked as failures, 2 badly recorded") as caught:
        select_episodes([folder / name for name in ("d_bad", "e_failure", "g_bad")], bags.robot())
    assert "--include-bad" in str(caught.value)


def test_a_long_list_is_cut(folder):
    found = select_episodes([folder, *[folder / "d_bad"] * 9], bags.robot())
    assert "d_bad and 3 more (" in "\n".join(found.lines())


@pytest.mark.parametrize(("options", "episodes", "samples"), [([], 4, 34), (["--include-bad"], 6, 54)])
def test_autofocus_train_says_so(folder, capsys, options, episodes, samples):
    argv = bags.train_arguments(folder.parent, "out", *options, "--set", "steps=1", episodes=folder)
    assert train.main(argv) == 0
    printed = capsys.readouterr().out
    assert f"{samples} samples from {episodes} episodes" in printed
    assert ("left out 2 episodes whose recording is bad: d_bad, g_bad" in printed) is (not options)
    assert "left out 1 episodes marked as failures" in printed
    assert "left out 4 frames: outside the trim" in printed
