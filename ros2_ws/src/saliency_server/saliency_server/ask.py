"""Asking a vision-language model: bounded tries, a validated answer or a reason, and a ledger of what was asked."""

from __future__ import annotations

import random
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import TypeVar

import numpy as np
from autofocus_core.errors import AutofocusError
from pydantic import BaseModel

from saliency_server.answer_json import BadAnswer, parse_answer, wire_schema
from saliency_server.answers import Answer
from saliency_server.models.chat import Chat, ChatError, TimedChat
from saliency_server.prompts import SYSTEM, repair_text

MAX_RAW_ANSWER = 4000  # characters of an answer that the ledger keeps
MAX_WAIT_S = 20.0

A = TypeVar("A", bound=BaseModel)


class NoAnswer(AutofocusError):
    """A question that has no valid answer; `got` says why. What hangs on it is not valid: nothing is made up."""

    @property
    def reason(self) -> str:
        """Why there is no answer."""
        return self.got


@dataclass(frozen=True, slots=True)
class Question:
    """purpose: "describe", "check" or "choose"; text: the prompt (see `prompts`); images: rgb uint8 (H, W, 3) each;
    answer: the schema that the answer must fit (see `answers`)."""

    purpose: str
    text: str
    images: tuple[np.ndarray, ...]
    answer: type[BaseModel]


@dataclass(frozen=True, slots=True)
class Asked:
    """One question in the ledger, for the provenance.

    prompt: as it was first asked; raw_answers: what came, one for each try that brought an answer, cut at
    MAX_RAW_ANSWER characters; problem: why no answer is valid, "" where one is; tries: requests made; tokens, seconds
    (waits included) and cost: of all tries together; notes: what a rule left out of the answer.
    """

    purpose: str
    prompt: str
    raw_answers: tuple[str, ...]
    problem: str
    tries: int
    prompt_tokens: int
    completion_tokens: int
    seconds: float
    cost: float
    notes: tuple[str, ...] = ()


@dataclass(slots=True)
class _Tally:
    """What a question has used so far."""

    tries: int = 0
    raw: list[str] = field(default_factory=list)
    prompt_tokens: int = 0
    completion_tokens: int = 0
    cost: float = 0.0


class Asker:
    """Asks a chat, at most `tries` requests and `deadline_s` seconds for each question, and keeps the ledger."""

    def __init__(
        self,
        chat: Chat,
        *,
        tries: int = 3,
        deadline_s: float = 120.0,
        first_wait_s: float = 1.0,
        sleep: Callable[[float], None] = time.sleep,
    ) -> None:
        """first_wait_s: the wait before the second try where the server names none; it doubles with each try."""
        if tries < 1 or deadline_s <= 0:
            raise ValueError("tries must be at least 1 and deadline_s above 0")
        self.chat = chat
        self.tries = tries
        self.deadline_s = deadline_s
        self.asked: list[Asked] = []
        self._first_wait_s = first_wait_s
        self._sleep = sleep

    @property
    def questions(self) -> int:
        """Questions asked; the tries of one question count as one."""
        return len(self.asked)

    def ask(self, question: Question) -> BaseModel:
        """The validated answer, an instance of `question.answer`.

        A request that fails in a way that may pass (timeout, 429, 5xx) is tried again after a wait, an answer that is
        not valid goes back once with what is wrong with it; in all there are never more than `tries` requests, and none
        begins after `deadline_s`. Raises NoAnswer; AutofocusError where the model cannot be used at all.
        """
        begun_s = time.monotonic()
        tally = _Tally()
        problem, notes = "interrupted", ()
        try:
            answer = self._try(question, tally, begun_s + self.deadline_s)
            problem = ""
            notes = answer.notes if isinstance(answer, Answer) else ()
            return answer
        except AutofocusError as error:
            problem = error.got
            raise
        finally:
            self.asked.append(
                Asked(
                    question.purpose, question.text, tuple(tally.raw), problem, tally.tries, tally.prompt_tokens,
                    tally.completion_tokens, round(time.monotonic() - begun_s, 4), tally.cost, notes,
                )
            )

    def _try(self, question: Question, tally: _Tally, end_s: float) -> BaseModel:
        schema = wire_schema(question.answer)
        text, problem, repaired = question.text, "", False
        while tally.tries < self.tries:
            left_s = end_s - time.monotonic()
            if left_s <= 0:
                problem = f"no answer within {self.deadline_s:g} s" + (f"; last: {problem}" if problem else "")
                break
            chat = self.chat.within(left_s) if isinstance(self.chat, TimedChat) else self.chat
            tally.tries += 1
            try:
                completion = chat.complete(SYSTEM, text, question.images, schema)
            except ChatError as error:
                problem = str(error)
                if not error.retryable or not self._wait(error.retry_after_s, tally.tries, end_s):
                    break
                continue
            tally.raw.append(_cut(completion.text))
            tally.prompt_tokens += completion.prompt_tokens
            tally.completion_tokens += completion.completion_tokens
            tally.cost += completion.cost
            try:
                return parse_answer(completion.text, question.answer)
            except BadAnswer as error:
                problem = f"not a valid answer: {error}"
                if repaired:
                    break
                repaired, text = True, question.text + repair_text(str(error))
        raise NoAnswer(
            f"question ({question.purpose}) to {self.chat.name}",
            problem,
            f"a valid answer in {self.tries} tries and {self.deadline_s:g} s",
            "see what the model answered in the provenance; check the server and its key, or choose another model",
        )

    def _wait(self, asked_s: float | None, tries: int, end_s: float) -> bool:
        """Wait before the next try; False, at once, where there is none or it would begin after the deadline."""
        if asked_s is None:
            # Half of the wait is by chance: workers that failed together do not come back together.
            asked_s = min(self._first_wait_s * 2 ** (tries - 1), MAX_WAIT_S) * random.uniform(0.5, 1.0)
        if tries >= self.tries or time.monotonic() + asked_s >= end_s:
            return False
        if asked_s > 0:
            self._sleep(asked_s)
        return True


def _cut(text: str) -> str:
    cut = len(text) - MAX_RAW_ANSWER
    return text if cut <= 0 else f"{text[:MAX_RAW_ANSWER]} [{cut} more characters]"
