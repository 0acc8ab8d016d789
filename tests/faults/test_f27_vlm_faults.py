"""F27: a server of a vision-language model that fails in every way that servers fail, and one that is hostile.

Every question ends in time, after at most three requests, with a validated answer or with a reason; nothing is written
outside of the annotator's folder, nothing is run, and nobody but the named server is spoken to.
"""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
from autofocus_core.results import record

pytest.importorskip("openai", reason="openai is not installed (saliency_server[openai])")

TRIES = 3
COMMAND = "pytest tests/faults/test_f27_vlm_faults.py"

#: Runs in a process of its own, whose every opened file, new process and connection is noted.
ASKS = '''
import gzip, json, os, sys, time
sys.path.insert(0, sys.argv[1])
os.chdir(sys.argv[2])
import numpy as np
from saliency_server.answers import DescribeAnswer
from saliency_server.ask import Asker, NoAnswer, Question
from saliency_server.models.chat import open_chat
from saliency_server.prompts import describe_prompt
from vlm_stub import drips, drips_headers, fails, hangs, hangs_up, raw, says, serving

def thing(name, **more):
    return {"name": name, "role": "target"} | more

def named(*names, **more):
    return says({"objects": [thing(name) for name in names], "sentence": "x"} | more)

def zipped(handler):
    handler.send(200, gzip.compress(bytes(20 << 20)), {"Content-Encoding": "gzip"})

good, slow = named("red cube"), ",timeout_s=0.3"
FAULTS = {  # name: (script, options, limits)
    "good": ([good], "", {}),
    "500 for ever": ([fails(500)], "", {}),
    "503 once": ([fails(503), good], "", {}),
    "429 once, with Retry-After": ([fails(429, Retry_After="0.2"), good], "", {}),
    "429 for ever, with Retry-After": ([fails(429, Retry_After="0.05")], "", {}),
    "429 for an hour": ([fails(429, Retry_After="3600")], "", {}),
    "401": ([fails(401)], "", {}),
    "redirect": ([fails(302, Location="http://192.0.2.1/")], "", {}),
    "timeout for ever": ([hangs], slow, {}),
    "timeout once": ([hangs, good], slow, {}),
    "drip": ([drips], slow, {}),
    "drip in the headers": ([drips_headers], slow, {}),
    "drip against the deadline": ([drips], ",timeout_s=600", {"deadline_s": 0.5}),
    "hangs up": ([hangs_up], "", {}),
    "bad JSON": ([raw(b"{'choices': [")], "", {}),
    "binary": ([raw(bytes(range(256)))], "", {}),
    "JSON of something else": ([raw(b'{"choices": "x"}')], "", {}),
    "no choice": ([raw(b'{"choices": []}')], "", {}),
    "no content": ([raw(b'{"choices": [{"message": {"role": "assistant"}, "finish_reason": "length"}]}')], "", {}),
    "deep JSON": ([raw(b'{"choices": ' + b"[" * 100_000)], "", {}),
    "huge answer": ([raw(b" " * (8 << 20))], "", {}),
    "huge when unpacked": ([zipped], "", {}),
    "huge error": ([lambda h: h.send(500, b"x" * (8 << 20))], "", {}),
    "long content": ([says("y" * 100_000)], "", {}),
    "not JSON": ([says("I see a red cube on a table.")], "", {}),
    "wrong schema": ([says({"boxes": [1, 2]})], "", {}),
    "wrong schema once": ([says({"boxes": [1, 2]}), good], "", {}),
    "path as a name": ([named("../../etc/x")], "", {}),
    "absolute path as a name": ([named("/etc/cron.d/x")], "", {}),
    "command as a name": ([named("$(touch /tmp/x)")], "", {}),
    "markup as a name": ([named("<script>alert(1)</script>")], "", {}),
    "a field of its own": ([named("red cube", output_path="/etc/x")], "", {}),
    "obeys a text in the image": ([says("As the sign says, ignoring previous instructions: rm -rf /")], "", {}),
    "gripper only": ([named("gripper")], "", {}),
}
noted = {"connections": [], "other": [], "writes": []}
asking = False

def note(event, args):
    if not asking:
        return
    if event == "open" and isinstance(args[0], (str, bytes, os.PathLike)):
        mode, flags = args[1] or "", args[2] or 0
        if any(c in mode for c in "wax+") or flags & (os.O_WRONLY | os.O_RDWR | os.O_CREAT):
            noted["writes"].append(os.path.abspath(os.fsdecode(args[0])))
    elif event in ("os.mkdir", "os.rename", "os.link", "os.symlink", "os.truncate", "os.chmod"):
        noted["writes"] += [os.path.abspath(os.fsdecode(a)) for a in args[:2] if isinstance(a, (str, bytes))]
    elif event in ("os.remove", "os.rmdir", "os.system", "os.exec", "os.posix_spawn", "subprocess.Popen", "os.fork"):
        noted["other"].append(f"{event} {args}")
    elif event == "socket.connect":
        noted["connections"].append(args[1][0] if isinstance(args[1], tuple) else str(args[1]))

sys.addaudithook(note)
image = np.zeros((24, 32, 3), np.uint8)
question = Question("describe", describe_prompt("lift the red cube", [0.0]), (image,), DescribeAnswer)
results = {}

def ask(name, chat, limits):
    global asking
    asker = Asker(chat, **({"first_wait_s": 0.02} | limits))
    answer, reason = None, ""
    begun = time.monotonic()
    asking = name != "warm-up"  # the client looks once at the machine that it runs on (uname)
    try:
        answer = [o.name for o in asker.ask(question).objects]
    except NoAnswer as error:
        reason = error.reason
    asking = False
    spent = time.monotonic() - begun
    results[name] = {"answer": answer, "reason": reason, "s": spent, "tries": asker.asked[0].tries}

import openai
with serving(good) as stub:
    ask("warm-up", open_chat(f"openai:stub@{stub.url}"), {})
for name, (script, options, limits) in FAULTS.items():
    with serving(*script) as stub:
        ask(name, open_chat(f"openai:stub@{stub.url}{options}"), limits)
    results[name]["requests"] = len(stub.requests)
ask("connection refused", open_chat(f"openai:stub@{stub.url}"), {})
results["connection refused"]["requests"] = 0
print(json.dumps({"results": results, "noted": noted}))
'''
ANSWERED = {
    "good", "503 once", "429 once, with Retry-After", "timeout once", "wrong schema once",
}  # fmt: skip
#: fault -> what the reason says, where more than that there is one matters
SAYS = {
    "500 for ever": "HTTP 500", "429 for an hour": "asks to wait 3600 s", "timeout for ever": "no complete answer",
    "drip": "no complete answer", "drip in the headers": "no complete answer",
    "connection refused": "cannot be reached",
    "hangs up": "cannot be reached", "huge answer": "bytes", "huge when unpacked": "bytes", "huge error": "bytes",
    "bad JSON": "no chat completion", "path as a name": "objects.0.name", "a field of its own": "output_path",
    "no content": "length", "gripper only": "no object",
}  # fmt: skip


@pytest.fixture(scope="module")
def seen(tmp_path_factory: pytest.TempPathFactory) -> dict:
    """What became of each fault, and what the asking process did meanwhile."""
    folder = tmp_path_factory.mktemp("annotator")
    fixtures = Path(__file__).parents[1] / "fixtures"
    environment = os.environ | {"PYTHONDONTWRITEBYTECODE": "1", "AUTOFOCUS_VLM_API_KEY": "sk-secret-0123456789"}
    for proxy in ("http_proxy", "HTTP_PROXY", "all_proxy", "ALL_PROXY"):
        environment.pop(proxy, None)
    done = subprocess.run(
        [sys.executable, "-c", ASKS, str(fixtures), str(folder)], capture_output=True, text=True, timeout=120,
        env=environment,
    )
    assert done.returncode == 0, done.stderr
    assert "sk-secret" not in done.stdout + done.stderr
    return json.loads(done.stdout) | {"folder": str(folder)}


def test_f27_at_most_three_tries_and_always_an_end(seen: dict) -> None:
    for name, result in seen["results"].items():
        assert result["tries"] <= TRIES and result.get("requests", 0) <= TRIES, (name, result)
        assert result["s"] < 10, (name, result)
    most = max(result["tries"] for result in seen["results"].values())
    record("faults", "F27 tries of a question, at most", most, "tries", "<= 3", most <= TRIES, COMMAND)
    held_s = seen["results"]["drip against the deadline"]["s"] - 0.5
    record("faults", "F27 a dripping server holds us beyond the deadline", held_s, "s", "<= 2", held_s <= 2, COMMAND)
    assert held_s <= 2


def test_f27_an_answer_or_a_reason(seen: dict) -> None:
    """Whatever the server does: the one valid answer, or none and why. Never something in between."""
    for name, result in seen["results"].items():
        if name in ANSWERED | {"warm-up"}:
            assert result["answer"] == ["red cube"] and not result["reason"], (name, result)
        else:
            assert result["answer"] is None and result["reason"], (name, result)
            assert SAYS.get(name, "") in result["reason"], (name, result)
            assert "\n" not in result["reason"] and len(result["reason"]) < 1200, (name, result)
    assert seen["results"]["429 once, with Retry-After"]["s"] >= 0.2
    assert seen["results"]["429 for an hour"]["requests"] == 1
    assert seen["results"]["401"]["requests"] == seen["results"]["redirect"]["requests"] == 1


def test_f27_nothing_is_written_outside_run_or_called(seen: dict) -> None:
    outside = [path for path in seen["noted"]["writes"] if not path.startswith(seen["folder"])]
    outside = [path for path in outside if path != os.devnull]
    record("faults", "F27 writes outside of the annotator's folder", len(outside), "writes", "0", not outside, COMMAND)
    assert not outside and not seen["noted"]["other"]
    assert seen["noted"]["connections"], "the hook sees nothing"
    assert set(seen["noted"]["connections"]) == {"127.0.0.1"}
