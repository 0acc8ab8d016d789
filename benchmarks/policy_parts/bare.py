"""(a): the TorchScript file alone, at control rate: `python bare.py POLICY HEIGHT WIDTH JOINTS RATE_HZ SECONDS`.

A process of its own with one thread, as the node has it. It sleeps between two passes as the node does: caches are as
cold and the core's clock is as slow as they are there. Prints the durations in ms as JSON.
"""

from __future__ import annotations

import json
import sys
import time
import warnings

import torch

warnings.simplefilter("ignore", DeprecationWarning)


def main(policy: str, height: str, width: str, joints: str, rate_hz: str, seconds: str) -> None:
    torch.set_num_threads(1)
    module = torch.jit.load(policy).eval()
    frames = [torch.randint(0, 256, (1, 1, int(height), int(width), 3), dtype=torch.uint8) for _ in range(8)]
    state = torch.zeros(1, int(joints))
    found, period_s = [], 1.0 / float(rate_hz)
    with torch.inference_mode():
        for k in range(round(float(seconds) / period_s) + 10):
            time.sleep(period_s)
            began_s = time.perf_counter()
            module(frames[k % len(frames)], state)
            found.append((time.perf_counter() - began_s) * 1e3)
    print(json.dumps(found[10:]))


if __name__ == "__main__":
    main(*sys.argv[1:])
