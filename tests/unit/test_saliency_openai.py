"""Asking a server over HTTP: what is sent, what is learned about the server, what is counted, what stays secret."""

import base64
import contextlib
import logging
import os
import subprocess
import sys
import threading
import time

import cv2
import numpy as np
import pytest
from autofocus_core.errors import AutofocusError
from saliency_server.answers import ChooseAnswer, DescribeAnswer
from saliency_server.ask import MAX_RAW_ANSWER, Asker, NoAnswer, Question
from saliency_server.models.chat import ChatError, Completion, open_chat, redact
from saliency_server.models.http_session import _retry_after_s
from vlm_stub import fails, raw, says, serving

pytest.importorskip("openai", reason="openai is not installed (saliency_server[openai])")

IMAGE = np.full((24, 32, 3), (200, 10, 10), np.uint8)
GOOD = {"objects": [{"name": "red cube", "role": "target"}], "sentence": "A cube is lifted."}
SECRET = "sk-very-secret-0123456789"


@pytest.fixture(autouse=True)
def own_key(monkeypatch):
    monkeypatch.setenv("AUTOFOCUS_VLM_API_KEY", SECRET)


def ask(stub, options="", question="Which?", answer=DescribeAnswer, **limits):
    """The answer, or the NoAnswer, and the asker."""
    asker = Asker(open_chat(f"openai:stub@{stub.url}{options}"), **({"first_wait_s": 0.01} | limits))
    try:
        return asker.ask(Question("describe", question, (IMAGE, IMAGE), answer)), asker
    except NoAnswer as error:
        return error, asker


def test_what_is_sent_and_what_is_counted():
    with serving(says(GOOD)) as stub:
        answer, asker = ask(stub, ",image=png,seed=7,max_tokens=99,price_in=2,price_out=10")
    assert [thing.name for thing in answer.objects] == ["red cube"]
    path, headers, body = stub.requests[0]
    assert path == "/v1/chat/completions" and headers["authorization"] == f"Bearer {SECRET}"
    assert (body["model"], body["temperature"], body["seed"], body["max_tokens"]) == ("stub", 0, 7, 99)
    schema = body["response_format"]["json_schema"]
    assert schema["strict"] and schema["schema"]["required"] == ["objects", "sentence"]
    system, user = body["messages"]
    assert system["role"] == "system" and "belongs to the scene" in system["content"]
    kinds = [part["type"] for part in user["content"]]
    assert kinds == ["text", "image_url", "text", "image_url", "text"]
    assert user["content"][2]["text"] == "Image 2:" and user["content"][4]["text"].startswith("Which?")
    head, data = user["content"][1]["image_url"]["url"].split(",")
    assert head == "data:image/png;base64"
    sent = cv2.imdecode(np.frombuffer(base64.b64decode(data), np.uint8), cv2.IMREAD_COLOR)
    assert np.array_equal(sent[..., ::-1], IMAGE)
    (asked,) = asker.asked
    assert (asked.tries, asked.problem, asker.questions) == (1, "", 1)
    assert (asked.prompt_tokens, asked.completion_tokens) == (1000, 50)
    assert asked.cost == pytest.approx(1000 * 2e-6 + 50 * 10e-6)
    assert asked.prompt == "Which?" and "red cube" in asked.raw_answers[0]


def test_an_invalid_answer_goes_back_once_with_what_was_wrong():
    bad = {"objects": [{"name": "../../etc/x", "role": "target"}], "sentence": "x"}
    with serving(says(bad), says(GOOD)) as stub:
        answer, asker = ask(stub)
    assert answer.objects[0].name == "red cube" and asker.asked[0].tries == 2
    first, second = (body["messages"][1]["content"][-1]["text"] for _, _, body in stub.requests)
    assert "objects.0.name" in second and "objects.0.name" not in first and "etc/x" not in second
    assert asker.asked[0].prompt_tokens == 2000 and len(asker.asked[0].raw_answers) == 2
    with serving(says(bad)) as stub:
        error, asker = ask(stub)
    assert isinstance(error, NoAnswer) and "objects.0.name" in error.reason and len(stub.requests) == 2
    assert asker.asked[0].problem == error.reason


@pytest.mark.parametrize(
    ("refusal", "formats"),
    [
        ("response_format json_schema is not supported", ["json_schema", "json_object"]),
        ("unknown field: response_format", ["json_schema", None]),
        ("bad request", ["json_schema", "json_object"]),
    ],
)
def test_a_response_format_that_is_refused_is_not_sent_again(refusal, formats):
    with serving(fails(400, refusal), says(GOOD)) as stub:
        chat = open_chat(f"openai:stub@{stub.url}")
        for _ in range(2):
            assert Asker(chat).ask(Question("describe", "Which?", (IMAGE,), DescribeAnswer)).objects
    sent = [body.get("response_format", {}).get("type") for _, _, body in stub.requests]
    assert sent == [*formats, formats[-1]]


def test_parameters_that_are_refused_by_name():
    """A server (or model) with one temperature only, and another name for the token limit."""
    said = "Unsupported parameter: 'max_tokens'. Use 'max_completion_tokens'. 'temperature' must be 1."
    with serving(fails(400, said), says(GOOD)) as stub:
        _, asker = ask(stub)
    first, second = (body for _, _, body in stub.requests)
    assert "temperature" in first and "temperature" not in second
    assert second["max_completion_tokens"] == first["max_tokens"] and "max_tokens" not in second
    assert second["response_format"] == first["response_format"] and asker.asked[0].tries == 2


def test_a_request_that_is_refused_anyhow_teaches_nothing():
    """Too long a prompt, say: the next, shorter question is asked with the schema again."""
    with serving(*[fails(400, "too long")] * 3, says(GOOD)) as stub:
        chat = open_chat(f"openai:stub@{stub.url}")
        with pytest.raises(NoAnswer, match="too long"):
            Asker(chat).ask(Question("describe", "Which?", (IMAGE,), DescribeAnswer))
        Asker(chat).ask(Question("describe", "Which?", (IMAGE,), DescribeAnswer))
    kinds = [body.get("response_format", {}).get("type") for _, _, body in stub.requests]
    assert kinds == ["json_schema", "json_object", None, "json_schema"]


@pytest.mark.parametrize(
    ("status", "hint"), [(401, "AUTOFOCUS_VLM_API_KEY"), (404, "end in /v1"), (302, "redirect"), (403, "valid")]
)
def test_what_another_try_cannot_mend_is_asked_once(status, hint):
    with serving(fails(status, f"key {SECRET} is wrong", Location="http://127.0.0.1:1/")) as stub:
        error, asker = ask(stub)
    assert isinstance(error, NoAnswer) and hint in error.reason and len(stub.requests) == 1
    assert SECRET not in str(error) + repr(asker.asked)


def test_the_key_is_nowhere_but_in_the_header(caplog, monkeypatch, capfd):
    """Not in errors, ledger, name, version or logs; and OpenAI's own key does not go to another server."""
    monkeypatch.setenv("OPENAI_API_KEY", "sk-openai-only-0123456789")
    monkeypatch.setenv("OPENAI_ADMIN_KEY", "sk-admin-only-0123456789")
    monkeypatch.setenv("OPENAI_ORG_ID", "org-only-openai")
    caplog.set_level(logging.DEBUG)
    with serving(fails(500, f"boom Bearer {SECRET}"), raw(f"{SECRET}".encode()), says("no")) as stub:
        error, asker = ask(stub)
    chat = asker.chat
    said = [str(error), repr(asker.asked), chat.name, chat.version, repr(chat), caplog.text, *capfd.readouterr()]
    seen = "".join(said)
    assert SECRET not in seen and "only-0123456789" not in seen
    sent = repr([headers for _, headers, _ in stub.requests])
    assert "openai-only" not in sent and "admin-only" not in sent and "org-only" not in sent
    monkeypatch.delenv("AUTOFOCUS_VLM_API_KEY")
    with serving(says(GOOD)) as stub:
        ask(stub)
    assert "openai-only" not in repr(stub.requests[0][1])


def test_a_key_that_is_none_is_refused_unseen(monkeypatch):
    monkeypatch.setenv("AUTOFOCUS_VLM_API_KEY", "clé\nX-Header: 1")
    with pytest.raises(AutofocusError) as caught:
        open_chat("openai:m@http://host/v1")
    assert "clé" not in str(caught.value)


def test_openai_itself_needs_a_key(monkeypatch):
    monkeypatch.delenv("AUTOFOCUS_VLM_API_KEY")
    monkeypatch.delenv("OPENAI_API_KEY", raising=False)
    with pytest.raises(AutofocusError, match="AUTOFOCUS_VLM_API_KEY"):
        open_chat("openai:some-model")


def test_redact():
    text = f"a\x1b[31m {SECRET} Bearer abc data:image/png;base64,AAAA task-scheduler " + "x" * 1000
    assert redact(text).startswith("a [31m [secret] [secret] [secret] task-scheduler")
    assert len(redact(text)) < 400 and redact("my pass phrase", "pass phrase") == "my [secret]"


def test_requests_at_a_time_are_limited():
    alive, most, lock = [], [], threading.Lock()

    def slow(handler):
        with lock:
            alive.append(1)
            most.append(len(alive))
        time.sleep(0.1)
        with lock:
            alive.pop()
        says(GOOD)(handler)

    with serving(slow) as stub:
        chat = open_chat(f"openai:stub@{stub.url},concurrency=2")
        question = Question("describe", "Which?", (IMAGE,), DescribeAnswer)
        threads = [threading.Thread(target=Asker(chat).ask, args=(question,)) for _ in range(6)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join(30)
    assert len(stub.requests) == 6 and max(most) == 2


@pytest.mark.parametrize(
    "spec",
    ["none", "openai:", "gpt", "transformers:", "openai:m@http://user:pass@host/v1", "openai:m@http://host/v1?key=abc",
     "openai:@http://host/v1", "openai:m@http://[::1/v1", "openai:m@http://ho st/v1", "openai:m@http://höst/v1",
     "openai:m@http://host/v1,timeout_s=0", "openai:m@http://host/v1,seed=x",
     "openai:m@http://host/v1,colour=red", "openai:m@http://host/v1,seed=1,seed=2", "openai:m@http://host/v1,seed"],
)  # fmt: skip
def test_wrong_specs_are_refused_and_secrets_in_them_not_shown(spec):
    with pytest.raises(AutofocusError) as caught:
        open_chat(spec)
    assert caught.value.fix


def test_specs():
    chat = open_chat("openai:qwen2.5vl:72b@http://localhost:11434/v1/,max_tokens=512")
    assert chat.name == "openai:qwen2.5vl:72b" and "max_tokens 512" in chat.version
    other = open_chat("openai:qwen2.5vl:72b@http://elsewhere:1/v1,max_tokens=512")
    assert other.version == chat.version != open_chat("openai:qwen2.5vl:72b@http://elsewhere:1/v1").version


def test_retry_after_is_seconds_or_a_date():
    date = time.strftime("%a, %d %b %Y %H:%M:%S GMT", time.gmtime(time.time() + 100))
    assert _retry_after_s({"retry-after": "2.5"}) == 2.5 and _retry_after_s({"retry-after": "-1"}) == 0.0
    assert _retry_after_s({"retry-after": date}) == pytest.approx(100, abs=2)
    assert _retry_after_s({}) is None and _retry_after_s({"retry-after": "soon"}) is None


class Scripted:
    """A chat that answers or raises in turn."""

    name, version = "scripted", "1"

    def __init__(self, *acts):
        self.acts = list(acts)

    def complete(self, system, text, images, schema):
        act = self.acts.pop(0)
        if isinstance(act, Exception):
            raise act
        return Completion(act, 10, 1, 0.0, 0.5)


def asked(*acts, **limits):
    slept = []
    asker = Asker(Scripted(*acts), sleep=slept.append, **limits)
    with contextlib.suppress(NoAnswer):
        asker.ask(Question("choose", "q", (), ChooseAnswer))
    return asker.asked[0], slept, asker.chat.acts


def test_waits_grow_by_chance_and_follow_the_server():
    flaky = [ChatError("down", retryable=True) for _ in range(5)]
    entry, slept, left = asked(*flaky, tries=4, first_wait_s=2.0)
    assert (entry.tries, entry.problem, len(left)) == (4, "down", 1)
    assert len(slept) == 3 and all(2.0 * 2**i * 0.5 <= wait <= 2.0 * 2**i for i, wait in enumerate(slept))
    entry, slept, _ = asked(ChatError("busy", retryable=True, retry_after_s=7.0), '{"keep": []}')
    assert slept == [7.0] and entry.problem == "" and entry.tries == 2


def test_no_wait_beyond_the_deadline_and_none_after_the_last_try():
    entry, slept, left = asked(ChatError("busy", retryable=True, retry_after_s=3600.0), '{"keep": []}', deadline_s=10.0)
    assert (entry.tries, slept, len(left)) == (1, [], 1)
    entry, slept, _ = asked(ChatError("down", retryable=True), tries=1)
    assert (entry.tries, slept) == (1, [])
    entry, slept, left = asked(ChatError("no", retryable=False), '{"keep": []}')
    assert (entry.tries, slept, len(left)) == (1, [], 1)


def test_failures_and_the_repair_share_the_tries():
    acts = ["nonsense", ChatError("down", retryable=True), "nonsense", '{"keep": []}']
    entry, _, left = asked(*acts)
    assert entry.tries == 3 and len(left) == 1 and entry.problem.startswith("not a valid answer")
    assert (entry.prompt_tokens, entry.cost, entry.raw_answers) == (20, 1.0, ("nonsense", "nonsense"))
    entry, _, left = asked("nonsense", "nonsense", '{"keep": []}')
    assert entry.tries == 2 and len(left) == 1, "an answer is repaired once"


def test_a_model_that_cannot_be_used_is_no_missing_answer_but_is_in_the_ledger():
    asker = Asker(Scripted(AutofocusError("model x", "no weights", "weights", "get them")))
    with pytest.raises(AutofocusError) as caught:
        asker.ask(Question("choose", "q", (), ChooseAnswer))
    assert not isinstance(caught.value, NoAnswer) and asker.asked[0].problem == "no weights"


def test_the_ledger_keeps_the_beginning_of_a_long_answer():
    entry, _, _ = asked("x" * 10_000, "y")
    assert len(entry.raw_answers[0]) < MAX_RAW_ANSWER + 50 and "6000 more" in entry.raw_answers[0]


def test_importing_the_server_loads_nothing_heavy():
    code = (
        "import sys, saliency_server.ask, saliency_server.models.chat, saliency_server.models.detectors, "
        "saliency_server.models.masks, saliency_server.models.openai_chat, saliency_server.models.transformers_chat\n"
        "print(*{name.split('.')[0] for name in sys.modules})"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, env=os.environ, timeout=60)
    assert done.returncode == 0, done.stderr
    assert not set(done.stdout.split()) & {"torch", "transformers", "openai", "ray", "uvicorn", "rclpy", "mujoco"}
