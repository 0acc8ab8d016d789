"""(d): LeRobot's own loop, run by a Python that has lerobot 0.4.4: `PYTHON lerobot_loop.py SIZE_PX RATE_HZ SECONDS`.

Its ACT with a ResNet-18 of random weights (the library has no smaller network) and one action step a chunk, so that
each tick infers. What is timed is `predict_action`, as `lerobot-record --policy` calls it: tensors of the observation,
the preprocessor, the policy, the postprocessor. The camera is left out: images are there already, at the network's
size, as LeRobot's datasets have them; so is the wait for the tick. Beside it the model alone, on tensors. Prints JSON,
in ms.
"""

from __future__ import annotations

import json
import sys
import time

import numpy as np
import torch
from lerobot.configs.types import FeatureType, PolicyFeature
from lerobot.policies.act.configuration_act import ACTConfig
from lerobot.policies.act.modeling_act import ACTPolicy
from lerobot.policies.factory import make_pre_post_processors
from lerobot.utils.control_utils import predict_action

JOINTS = 6


def main(size_px: str, rate_hz: str, seconds: str) -> None:
    torch.set_num_threads(1)
    torch.manual_seed(0)
    size, period_s = int(size_px), 1.0 / float(rate_hz)
    config = ACTConfig(
        input_features={"observation.images.camera": PolicyFeature(FeatureType.VISUAL, (3, size, size)),
                        "observation.state": PolicyFeature(FeatureType.STATE, (JOINTS,))},
        output_features={"action": PolicyFeature(FeatureType.ACTION, (JOINTS,))},
        chunk_size=8, n_action_steps=1, pretrained_backbone_weights=None, device="cpu")
    policy = ACTPolicy(config).eval()
    ones = {"mean": torch.zeros(3, 1, 1), "std": torch.ones(3, 1, 1)}
    joints = {"mean": torch.zeros(JOINTS), "std": torch.ones(JOINTS)}
    stats = {"observation.images.camera": ones, "observation.state": joints, "action": joints}
    preprocess, postprocess = make_pre_post_processors(config, dataset_stats=stats)
    noise = np.random.default_rng(0)
    frames = [noise.integers(0, 256, (size, size, 3), np.uint8) for _ in range(8)]
    loop_ms, bare_ms = [], []
    for k in range(round(float(seconds) / period_s) + 5):
        observation = {"observation.images.camera": frames[k % 8], "observation.state": np.zeros(JOINTS, np.float32)}
        time.sleep(period_s)
        began_s = time.perf_counter()
        predict_action(observation, policy, torch.device("cpu"), preprocess, postprocess, use_amp=False)
        loop_ms.append((time.perf_counter() - began_s) * 1e3)
    image = torch.zeros(1, 3, size, size)
    batch = {"observation.images.camera": image, "observation.images": [image],
             "observation.state": torch.zeros(1, JOINTS)}
    for _ in range(round(float(seconds) / 2 / period_s) + 5):
        time.sleep(period_s)
        began_s = time.perf_counter()
        with torch.inference_mode():
            policy.model(batch)
        bare_ms.append((time.perf_counter() - began_s) * 1e3)
    print(json.dumps({"loop_ms": loop_ms[5:], "bare_ms": bare_ms[5:]}))


if __name__ == "__main__":
    main(*sys.argv[1:])
