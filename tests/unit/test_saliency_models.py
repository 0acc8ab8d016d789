"""The transformers backends, for real, on tiny random-weight models: what they say is nonsense, and is refused."""

import json
import shutil
import socket
from collections import Counter
from pathlib import Path

import numpy as np
import pytest
from autofocus_core.errors import AutofocusError
from saliency_server.answers import DescribeAnswer, choose_answer
from saliency_server.ask import Asker, NoAnswer, Question
from saliency_server.models.boxes import detections, phrase_scores, suppress
from saliency_server.models.chat import ChatError, open_chat
from saliency_server.models.detectors import MAX_CANDIDATES, open_detector, span_prompt, spoken
from saliency_server.models.masks import open_masks, prepared
from saliency_server.models.spec import need
from saliency_server.phrases import parse_phrase
from saliency_server.prompts import describe_prompt

torch = pytest.importorskip("torch", reason="torch is not installed (saliency_server[transformers])")
pytest.importorskip("transformers", reason="transformers is not installed (saliency_server[transformers])")

import tiny_models  # noqa: E402

OBJECTS = [parse_phrase(name) for name in ("red cube", "red bowl", "white plate")]
SIZE_PX = (48, 64)
SPANS, CLASSES = ("grounding_dino", "mm_grounding_dino"), ("owlv2", "owlvit")
DETECTORS = SPANS + CLASSES


@pytest.fixture(scope="module", autouse=True)
def one_thread():
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@pytest.fixture(scope="module")
def folders(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    root = tmp_path_factory.mktemp("models")
    names = ("llava", *DETECTORS, "sam2")
    return {name: getattr(tiny_models, name)(root / name) for name in names}


@pytest.fixture(scope="module")
def images() -> list[np.ndarray]:
    rng = np.random.default_rng(0)
    return [rng.integers(0, 256, (*SIZE_PX, 3), dtype=np.uint8) for _ in range(3)]


def test_random_words_are_no_answer(folders, images):
    """The whole path of an image-text-to-text model; what it makes up does not get through."""
    asker = Asker(open_chat(f"transformers:{folders['llava']},max_tokens=32"))
    question = Question("describe", describe_prompt("lift the red cube", [0.0, 1.0]), tuple(images[:2]), DescribeAnswer)
    with pytest.raises(NoAnswer, match="not a valid answer"):
        asker.ask(question)
    with pytest.raises(NoAnswer):
        asker.ask(Question("choose", "Which?", (), choose_answer([1, 2])))
    first, second = asker.asked
    assert first.tries == 2 and first.raw_answers[0] and first.problem and first.completion_tokens == 64
    assert first.prompt_tokens > second.prompt_tokens > 100 and first.cost == 0.0


def test_the_same_question_gets_the_same_answer(folders, images):
    chat = open_chat(f"transformers:{folders['llava']},max_tokens=16,device=cpu,dtype=float32")
    once, again = (chat.complete("system", "text", images, {}) for _ in range(2))
    assert once.text == again.text and once.prompt_tokens == again.prompt_tokens
    assert once.prompt_tokens - chat.complete("system", "text", images[:1], {}).prompt_tokens > 2 * 4  # patches
    half = open_chat(f"transformers:{folders['llava']},max_tokens=16,device=cpu,dtype=bfloat16")
    assert half.complete("system", "text", images, {}).completion_tokens == 16
    assert half.version != chat.version and half.name == chat.name


@pytest.mark.parametrize(
    "template",
    [
        None,
        "{{ raise_exception('no templates today') }}",
        "{% if messages[0].role == 'system' %}{{ raise_exception('no') }}{% endif %}" + tiny_models.CHAT_TEMPLATE,
        "{% for m in messages %}{{ m.content + '!' }}{% endfor %}",
    ],
    ids=["none", "broken", "no system turn", "text only"],
)
def test_chat_templates_differ(template, tmp_path, images):
    chat = open_chat(f"transformers:{tiny_models.llava(tmp_path / 'model', template)},max_tokens=16")
    for pictures in (images[:2], []):
        assert chat.complete("system", "text", pictures, {"type": "object"}).completion_tokens == 16


def test_generation_ends_in_time(folders, images):
    chat = open_chat(f"transformers:{folders['llava']},max_tokens=15000")
    with pytest.raises(ChatError, match="no complete answer within") as caught:
        chat.within(0.2).complete("system", "text", images, {})
    assert not caught.value.retryable


def test_a_model_that_fails_is_a_reason(folders, images):
    """A control word in a text asks for an image that is not there. (Questions have none: `prompts` quotes it.)"""
    chat = open_chat(f"transformers:{folders['llava']},max_tokens=16")
    with pytest.raises(ChatError, match="the model failed") as caught:
        chat.complete("system", "put the <image> down", images[:1], {})
    assert not caught.value.retryable
    quoted = describe_prompt("put the <image> down", [0.0])
    assert chat.complete("system", quoted, images[:1], {}).completion_tokens == 16


@pytest.mark.parametrize("kind", DETECTORS)
def test_a_detector_gives_boxes_of_the_image(kind, folders, images):
    detector = open_detector(f"transformers:{folders[kind]},box=0,text=0")
    detector.prepare(OBJECTS)
    found = detector.detect(images, OBJECTS)
    boxes = [d for frame in found for of_object in frame for d in of_object]
    assert len(found) == 3 and all(len(frame) == 3 for frame in found) and len(boxes) > 10
    for d in boxes:
        x0, y0, x1, y1 = d.box_px
        assert 0 <= x0 < x1 <= SIZE_PX[1] and 0 <= y0 < y1 <= SIZE_PX[0] and 0 <= d.score <= 1
        assert d.centre_px == ((x0 + x1) / 2, (y0 + y1) / 2) and d.area_px == pytest.approx((x1 - x0) * (y1 - y0))
    for frame in found:
        for of_object in frame:
            assert [d.score for d in of_object] == sorted((d.score for d in of_object), reverse=True)
            assert len(of_object) <= MAX_CANDIDATES
    strict = open_detector(f"transformers:{folders[kind]},box=1.0,text=1.0")
    left = [d for frame in strict.detect(images, OBJECTS) for of_object in frame for d in of_object]
    assert len(left) < len(boxes) and all(d.score == 1.0 for d in left) and strict.version != detector.version
    assert detector.detect([], OBJECTS) == [] and detector.detect(images[:1], []) == [()]


@pytest.mark.parametrize("kind", DETECTORS)
def test_a_batch_is_what_its_images_are(kind, folders, images):
    detector = open_detector(f"transformers:{folders[kind]},box=0,text=0")
    together = detector.detect(images, OBJECTS)
    for alone, frame in zip((detector.detect([image], OBJECTS)[0] for image in images), together, strict=True):
        assert [[d.box_px for d in of] for of in alone] == [
            [pytest.approx(d.box_px, abs=1e-2) for d in of] for of in frame
        ]


@pytest.mark.parametrize("kind", DETECTORS)
def test_boxes_are_those_of_the_library(kind, folders, images):
    """The library's own way from outputs to pixels, for the boxes that both give."""
    detector = open_detector(f"transformers:{folders[kind]},box=0,text=0")
    processor, model, _ = detector._warm()
    with torch.inference_mode():
        if kind in SPANS:
            mine = detector._spans(processor, model, images, OBJECTS)
            text = detector._prompt(processor, OBJECTS).text
            inputs = processor(images=images, text=[text] * 3, return_tensors="pt")
            more = {"input_ids": inputs["input_ids"], "text_threshold": 0.0}
        else:
            mine = detector._classes(processor, model, images, OBJECTS)
            texts = [f"a photo of a {thing.name}" for thing in OBJECTS]
            inputs = processor(images=images, text=[texts] * 3, return_tensors="pt")
            more = {}
        theirs = processor.post_process_grounded_object_detection(
            model(**inputs), threshold=0.0, target_sizes=[SIZE_PX] * 3, **more
        )
    for (boxes, scores, phrase), reference in zip(mine, theirs, strict=True):
        assert np.allclose(boxes, reference["boxes"].numpy(), atol=1e-3)
        if kind in CLASSES:
            assert np.allclose(scores, reference["scores"].numpy(), atol=1e-6)
            assert np.array_equal(phrase, reference["labels"].numpy())


def test_the_tokens_of_a_phrase_are_found(folders):
    """Words that are several tokens, words that two phrases share, and a phrase within another."""
    from transformers import AutoProcessor

    tokenizer = AutoProcessor.from_pretrained(folders["grounding_dino"]).tokenizer
    names = ["red cube", "cube", "red cubes", "t-shirt"]
    prompt = span_prompt(tokenizer, names)
    tokens = tokenizer.convert_ids_to_tokens(tokenizer(prompt.text)["input_ids"])

    def words(indices):
        return "".join(tokens[i] for i in indices).replace("##", "")

    assert [words(p) for p in prompt.phrases] == ["redcube", "cube", "redcubes", "t-shirt"]
    assert [words(n) for n in prompt.nouns] == ["cube", "cube", "cubes", "t-shirt"]
    assert len({i for tokens_of in prompt.phrases for i in tokens_of}) == sum(map(len, prompt.phrases))


def test_a_shared_word_does_not_make_a_bowl_a_cube():
    """Tokens: red cube . red bowl . A red bowl fits "red" of both phrases, and one noun; a red spot fits no noun."""
    phrases, nouns = [(0, 1), (2, 3)], [(1,), (3,)]
    scores = np.array([
        [0.95, 0.1, 0.7, 0.6],  # a bowl, whose "red" fits the cube's even better
        [0.6, 0.8, 0.6, 0.2],  # a cube
        [0.9, 0.2, 0.8, 0.1],  # something red
    ])  # fmt: skip
    phrase, score = phrase_scores(scores, phrases, nouns, 0.4)
    assert phrase.tolist() == [1, 0, -1] and score[:2].tolist() == [0.7, 0.8]


def test_boxes_that_are_none_are_dropped_and_counted():
    nan, inf = np.nan, np.inf
    boxes = np.array([
        [10, 10, 30, 30], [11, 10, 31, 30], [10, 10, 30, 30], [-50, -50, 500, 500], [nan, 0, 9, 9], [0, 0, inf, 9],
        [40, 10, 20, 30], [70, 10, 90, 30], [5, 5, 5.5, 30], [40, 40, 50, 47], [0, 0, 9, 9],
    ], dtype=float)  # fmt: skip
    scores = np.array([0.9, 0.8, 0.7, 0.6, 0.9, 0.9, 0.9, 0.9, 0.9, nan, 0.1])
    phrase = np.array([0, 0, 1, 0, 0, 0, 0, 0, 0, 0, 0])
    dropped = Counter()
    found = detections(
        boxes, scores, phrase, 2, SIZE_PX, threshold=0.5, nms_iou=0.7, most=5, dropped=dropped
    )
    assert [d.box_px for d in found[0]] == [(10, 10, 30, 30), (0, 0, 64, 48)]
    assert [d.box_px for d in found[1]] == [(10, 10, 30, 30)], "another object's box may lie on the same place"
    assert dropped == {"not finite": 3, "no area in the image": 3, "overlaps a better one": 1}


def test_suppression_keeps_the_best():
    boxes = np.array([[0, 0, 10, 10], [1, 0, 11, 10], [20, 0, 30, 10], [0, 0, 10, 5]], dtype=float)
    assert suppress(boxes, 0.7) == [0, 2, 3] and suppress(boxes, 0.4) == [0, 2] and suppress(boxes[:0], 0.5) == []


def test_names_reach_a_detector_as_words_only():
    assert spoken(parse_phrase("Red cube. white plate; <s>")) == "red cube white plate s"
    with pytest.raises(AutofocusError, match="no word"):
        spoken(parse_phrase("../.."))


def test_too_many_words_for_one_question(folders):
    detector = open_detector(f"transformers:{folders['grounding_dino']}")
    with pytest.raises(AutofocusError, match="at most 256"):
        detector.prepare([parse_phrase("wxyz " * 10 + str(i)) for i in range(10)])


def test_masks_lie_in_the_image(folders, images):
    masks = open_masks(f"transformers:{folders['sam2']}").masks(
        images[:2], [np.array([[4, 4, 40, 40], [np.nan] * 4, [10, 0, 64, 30]]), np.zeros((0, 4))]
    )
    assert [m.mask.shape for m in masks] == [(3, *SIZE_PX), (0, *SIZE_PX)] and masks[0].mask.dtype == bool
    assert not masks[0].mask[1].any() and masks[0].score[1] == 0.0 and masks[0].score[0] > 0.0
    assert masks[0].mask[0].any() and not masks[0].mask[0].all()


def test_masks_see_what_sam2s_own_processor_shows(images):
    """Held together where torchvision is there: it is what SAM 2's processor needs and this package does without."""
    reason = "torchvision is not installed, or does not fit this torch"
    pytest.importorskip("torchvision", reason=reason, exc_type=(ImportError, RuntimeError))
    from transformers import Sam2ImageProcessor

    reference = Sam2ImageProcessor(size={"height": 64, "width": 64})(images=images[0], return_tensors="pt")
    mine = prepared(images[0], 64, (0.485, 0.456, 0.406), (0.229, 0.224, 0.225))
    assert torch.allclose(mine, reference["pixel_values"], atol=0.02)  # one of 255 levels


def test_other_bytes_are_another_model(folders, tmp_path):
    """A folder is pinned by its contents, wherever it lies."""
    moved = tmp_path / "llava"
    shutil.copytree(folders["llava"], moved)
    here, there = open_chat(f"transformers:{folders['llava']}"), open_chat(f"transformers:{moved}")
    assert here.version == there.version and here.name == there.name and str(tmp_path) not in there.name
    weights = moved / "model.safetensors"
    raw = bytearray(weights.read_bytes())
    raw[-100] ^= 1
    weights.write_bytes(raw)
    assert open_chat(f"transformers:{moved}").version != here.version


def test_a_checkpoint_without_its_weights_is_refused(folders, tmp_path):
    """transformers takes random numbers for weights that are missing, and such a model answers."""
    from safetensors.torch import load_file, save_file

    broken = tmp_path / "broken"
    shutil.copytree(folders["llava"], broken)
    weights = load_file(broken / "model.safetensors")
    gone = next(name for name in weights if "mlp" in name)
    save_file({k: v for k, v in weights.items() if k != gone}, broken / "model.safetensors", {"format": "pt"})
    with pytest.raises(AutofocusError, match="no weights for 1 parameters"):
        open_chat(f"transformers:{broken}").complete("s", "t", [], {})
    (broken / "model.safetensors").write_bytes(b"\0" * 100)
    with pytest.raises(AutofocusError, match="complete checkpoint"):
        open_chat(f"transformers:{broken}").complete("s", "t", [], {})
    with pytest.raises(AutofocusError, match="grounding-dino, mm-grounding-dino, owlv2, owlvit"):
        open_detector(f"transformers:{folders['llava']}").prepare(OBJECTS)


def test_code_in_a_model_is_not_run(folders, tmp_path):
    evil = tmp_path / "evil"
    shutil.copytree(folders["llava"], evil)
    config = json.loads((evil / "config.json").read_text())
    config |= {"model_type": "unheard-of", "auto_map": {
        "AutoConfig": "evil.Config", "AutoModelForImageTextToText": "evil.Model", "AutoProcessor": "evil.Processor",
    }}  # fmt: skip
    (evil / "config.json").write_text(json.dumps(config))
    (evil / "evil.py").write_text(f"open({str(tmp_path / 'ran')!r}, 'w')")
    with pytest.raises(AutofocusError):
        open_chat(f"transformers:{evil}").complete("s", "t", [], {})
    assert not (tmp_path / "ran").exists()


def test_a_hub_that_cannot_be_reached(monkeypatch, tmp_path):
    """At once, and with what to download; not after minutes of tries."""
    from huggingface_hub import constants

    def unreachable(*args, **kwargs):
        raise socket.gaierror(-2, "Name or service not known")

    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path))
    monkeypatch.setattr(socket, "getaddrinfo", unreachable)
    commit = "0123456789abcdef" * 2 + "01234567"
    for spec in ("org/model", "org/model@v1", "org/model,local_files_only=yes"):
        with pytest.raises(AutofocusError, match="hf download org/model --revision"):
            open_chat(f"transformers:{spec}")
    chat = open_chat(f"transformers:org/model@{commit}")
    assert commit in chat.version and chat.name == "transformers:org/model@0123456789ab"
    with pytest.raises(AutofocusError, match="in the local cache"):
        chat.complete("s", "t", [], {})


def test_a_model_in_the_cache_is_taken_from_there(folders, monkeypatch, tmp_path):
    """The commit that a branch means is looked up once and is part of the name."""
    from huggingface_hub import constants

    commit = "a" * 40
    repository = tmp_path / "models--org--tiny"
    shutil.copytree(folders["llava"], repository / "snapshots" / commit)
    (repository / "refs").mkdir()
    (repository / "refs/main").write_text(commit)
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path))
    chat = open_chat("transformers:org/tiny,local_files_only=yes,max_tokens=16")
    assert chat.name == f"transformers:org/tiny@{commit[:12]}"
    assert chat.complete("s", "t", [], {}).completion_tokens == 16
    (repository / "snapshots" / commit / "model.safetensors").rename(tmp_path / "away")
    with pytest.raises(AutofocusError, match="not whole"):  # other options, so that it is not warm
        open_chat("transformers:org/tiny,local_files_only=yes,dtype=float32").complete("s", "t", [], {})


@pytest.mark.parametrize(
    "spec",
    ["transformers:../..//x", "transformers:/no/such/folder", "transformers:a b", "transformers:org/model/more",
     "transformers:org/mo--del", "transformers:model.",
     "transformers:m,device=gpu", "transformers:m,dtype=int8", "transformers:m,trust_remote_code=yes"],
)  # fmt: skip
def test_wrong_specs(spec):
    for door in (open_chat, open_detector, open_masks):
        with pytest.raises(AutofocusError) as caught:
            door(spec)
        assert caught.value.fix
    with pytest.raises(AutofocusError, match="transformers:MODEL_OR_FOLDER"):
        open_detector("colour-terms")


def test_a_missing_package_names_its_extra():
    with pytest.raises(AutofocusError, match=r"pip install 'saliency_server\[openai\]'"):
        need("no_such_package_at_all", "openai")
