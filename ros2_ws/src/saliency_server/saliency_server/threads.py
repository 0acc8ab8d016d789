"""How many threads libraries may start in this process and its children: workers share the processors."""

from __future__ import annotations

import os
import sys

import cv2

#: Read by OpenMP (torch), MKL, OpenBLAS and the like when they are loaded.
VARIABLES = ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS", "NUMEXPR_NUM_THREADS")


def limit_threads(count: int) -> None:
    """At most `count` threads for a model's arithmetic, one for OpenCV: images are small, its threads only fight.

    Torch is not loaded for it: where it comes later, and in processes that are started from this one, the environment
    holds. Sums are rounded in another way with another number of threads, so it is the same in every worker.
    """
    cv2.setNumThreads(1)
    os.environ.update(dict.fromkeys(VARIABLES, str(count)))
    os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")
    torch = sys.modules.get("torch")
    if torch is not None:
        torch.set_num_threads(count)
