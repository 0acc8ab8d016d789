"""Encoder "pretrained": what it does with a model of transformers, and what it says where it cannot."""

from __future__ import annotations

import builtins

import pytest
import tiny_backbones
import torch
from autofocus_core.errors import AutofocusError
from autofocus_training.batch import Shapes
from autofocus_training.config import load_config
from autofocus_training.images import standardise
from autofocus_training.methods import build_network
from autofocus_training.pretrained import IMAGENET_MEAN, IMAGENET_STD, Pretrained

SIZE = (48, 64)


@pytest.fixture(scope="module")
def resnet(tmp_path_factory) -> str:
    pytest.importorskip("transformers", reason="saliency_server[transformers] is not installed")
    folder = tmp_path_factory.mktemp("resnet")
    tiny_backbones.save("resnet", folder)
    return str(folder)


def test_the_model_gets_images_as_it_was_trained_on_them(resnet):
    encoder = Pretrained(resnet, SIZE)
    seen: list[torch.Tensor] = []
    encoder.backbone.register_forward_pre_hook(lambda module, inputs: seen.append(inputs[0]))
    images = torch.rand(2, 3, *SIZE)
    z = encoder(standardise(images.clone()))
    mean, std = torch.tensor(IMAGENET_MEAN).view(3, 1, 1), torch.tensor(IMAGENET_STD).view(3, 1, 1)
    torch.testing.assert_close(seen[0], (images - mean) / std, atol=1e-5, rtol=0)
    assert z.shape[:2] == (2, encoder.channels) and z.min() >= 0


def test_a_fourth_channel_starts_out_unseen_and_can_be_learned(resnet):
    encoder = Pretrained(resnet, SIZE, inputs=4)
    x = torch.randn(1, 4, *SIZE)
    torch.testing.assert_close(encoder(x), encoder(torch.cat([x[:, :3], torch.zeros(1, 1, *SIZE)], dim=1)))
    encoder(x).sum().backward()
    assert encoder.adapt.weight.grad[:, 3].abs().sum() > 0


def test_batch_statistics_stay_as_they_came(resnet):
    encoder = Pretrained(resnet, SIZE).train()
    before = {name: value.clone() for name, value in encoder.backbone.named_buffers()}
    x = torch.randn(4, 3, *SIZE)
    together, alone = encoder(x), torch.cat([encoder(x[i : i + 1]) for i in range(4)])
    torch.testing.assert_close(together, alone, atol=1e-5, rtol=1e-4)
    assert before and all(torch.equal(value, before[name]) for name, value in encoder.backbone.named_buffers())


def test_every_weight_of_the_backbone_is_trained(resnet):
    encoder = Pretrained(resnet, SIZE)
    encoder(torch.randn(2, 3, *SIZE)).sum().backward()
    assert [name for name, p in encoder.named_parameters() if p.grad is None] == []


@pytest.mark.parametrize(
    ("overrides", "words"),
    [
        (("pretrained=",), "a model's name or path"),
        (("pretrained=/nowhere/at/all",), "save_pretrained"),
        (("pretrained={resnet}", "method=igmd"), "choose gmd"),
    ],
)
def test_what_cannot_be_had_is_an_error_that_says_what_to_do(resnet, overrides, words):
    keys = [text.format(resnet=resnet) if "=" in text[:-1] else f'{text}""' for text in overrides]
    config = load_config("tiny", ["encoder=pretrained", *keys])
    with pytest.raises(AutofocusError, match=words):
        build_network(config, Shapes(1, 1, 3, SIZE))


def test_without_transformers_the_extra_is_named(monkeypatch):
    real = builtins.__import__

    def missing(name, *args, **kwargs):
        if name == "transformers":
            raise ImportError(name)
        return real(name, *args, **kwargs)

    monkeypatch.setattr(builtins, "__import__", missing)
    with pytest.raises(AutofocusError, match=r"saliency_server\[transformers\]"):
        Pretrained("anything", SIZE)
