"""A real server of a vision-language model, on this machine: transformers' own, with a tiny random-weight model."""

import os
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from saliency_server.answers import DescribeAnswer
from saliency_server.ask import Asker, NoAnswer, Question
from saliency_server.models.chat import open_chat
from saliency_server.prompts import describe_prompt

for package in ("fastapi", "uvicorn", "openai", "accelerate", "transformers"):
    pytest.importorskip(package, reason=f"{package} is not installed: transformers serve does not run")

START_S = 120


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[str, str]]:
    """The address of a running `transformers serve`, and the model that it serves."""
    import tiny_models

    model = tiny_models.llava(tmp_path_factory.mktemp("models") / "llava")
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    log = tmp_path_factory.mktemp("server") / "log"
    command = [
        sys.executable, "-m", "transformers.cli.transformers", "serve", str(model), "--host", "127.0.0.1",
        "--port", str(port), "--device", "cpu",
    ]
    environment = os.environ | {"OMP_NUM_THREADS": "1", "HF_HUB_OFFLINE": "1"}
    with log.open("wb") as out:
        process = subprocess.Popen(command, stdout=out, stderr=subprocess.STDOUT, env=environment)
    try:
        _wait_until_up(f"http://127.0.0.1:{port}/health", process, log)
        yield f"http://127.0.0.1:{port}/v1", str(model)
    finally:
        process.terminate()
        try:
            process.wait(20)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


def _wait_until_up(url: str, process: subprocess.Popen, log: Path) -> None:
    end_s = time.monotonic() + START_S
    while time.monotonic() < end_s:
        if process.poll() is not None:
            pytest.fail(f"the server ended with {process.returncode}:\n{log.read_text()[-2000:]}")
        try:
            with urllib.request.urlopen(url, timeout=5):
                return
        except (urllib.error.URLError, OSError):
            time.sleep(0.3)
    pytest.fail(f"the server was not up within {START_S} s:\n{log.read_text()[-2000:]}")


@pytest.mark.slow
def test_random_weights_behind_http_are_no_answer(server: tuple[str, str]) -> None:
    """The same question over HTTP: the server answers (images and all), and what it says is refused with a reason."""
    url, model = server
    chat = open_chat(f"openai:{model}@{url},max_tokens=32,price_in=1,price_out=1")
    image = np.random.default_rng(0).integers(0, 256, (48, 64, 3), dtype=np.uint8)
    asker = Asker(chat)
    question = Question("describe", describe_prompt("lift the red cube", [0.0, 1.0]), (image, image), DescribeAnswer)
    with pytest.raises(NoAnswer, match="not a valid answer"):
        asker.ask(question)
    (asked,) = asker.asked
    assert 2 <= asked.tries <= 3 and len(asked.raw_answers) == 2 and asked.raw_answers[0]
    assert asked.prompt_tokens > 1000 and asked.completion_tokens == 64
    assert asked.cost == pytest.approx((asked.prompt_tokens + 64) / 1e6)
    with pytest.raises(NoAnswer, match="HTTP"):
        Asker(open_chat(f"openai:no-such-model@{url}")).ask(question)
