"""Configs: every key stated, unknown ones refused, overrides typed."""

from __future__ import annotations

import pytest
from autofocus_core.errors import AutofocusError
from autofocus_training.config import load_config, parse_config
from autofocus_training.names import METHOD_DEFAULTS, METHODS
from autofocus_training.train import config_of, parse


@pytest.mark.parametrize("name", ["tiny", "demo", "lab"])
def test_shipped_configs_parse_and_come_back_from_a_checkpoint(name):
    config = load_config(name, ["seed=3"])
    assert config.seed == 3
    assert parse_config(config.as_dict(), "checkpoint") == config


def test_overrides_are_typed():
    config = load_config("tiny", ["method=reg-share", "steps=7", "learning_rate=3e-4", "jitter=0"])
    assert (config.method, config.steps, config.jitter) == ("reg-share", 7, 0.0)


@pytest.mark.parametrize(
    ("override", "words"),
    [
        ("stepz=7", "unknown key 'stepz'"),
        ("steps", "key=value"),
        ("steps=many", "whole number"),
        ("method=magic", "gated"),
        ("paste_probability=1.5", "0 to 1"),
        ("learning_rate=0", "> 0"),
        ("compile=1", r"true \| false"),
    ],
)
def test_a_wrong_override_says_what_is_allowed(override, words):
    with pytest.raises(AutofocusError, match=words):
        load_config("tiny", [override])


def test_a_missing_key_is_an_error_not_a_default(tmp_path):
    raw = load_config("tiny").as_dict()
    del raw["jitter"]
    with pytest.raises(AutofocusError, match="jitter"):
        parse_config(raw, "here")


def test_an_unknown_config_lists_those_there_are():
    with pytest.raises(AutofocusError, match="demo, lab, tiny"):
        load_config("huge")


def test_a_method_brings_its_own_settings_and_set_has_the_last_word():
    def asked(*more: str):
        return config_of(parse(["episodes", "--robot", "r", "--task", "t", "--out", "o", *more]))

    assert asked().saliency_weight == load_config("demo").saliency_weight
    tuned = asked("--method", "reg-mse")
    assert (tuned.method, tuned.saliency_weight, tuned.saliency_beta) == ("reg-mse", 5.0, 10.0)
    assert asked("--method", "reg-mse", "--set", "saliency_weight=2").saliency_weight == 2.0
    assert asked("--config", "tiny", "--set", "method=reg-mse").saliency_weight == load_config("tiny").saliency_weight
    for method, keys in METHOD_DEFAULTS.items():
        assert method in METHODS and load_config("demo", [f"method={method}", *keys])
