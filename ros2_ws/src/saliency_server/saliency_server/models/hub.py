"""Models of the transformers library by name: which bytes a spec means, and loading them once per process."""

from __future__ import annotations

import hashlib
import json
import re
import threading
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from autofocus_core.errors import AutofocusError

from saliency_server.models.spec import need, one_of, split_options

EXTRA = "transformers"
#: What a model consists of here: weights as safetensors, never pickles or code.
FILES = ["*.json", "*.safetensors", "*.txt", "*.model", "*.jinja"]
_HUB_NAME = re.compile(r"[A-Za-z0-9_][\w.-]*(?:/[A-Za-z0-9_][\w.-]*)?")
_COMMIT = re.compile(r"[0-9a-f]{40}")
SAMPLES, SAMPLE_BYTES = 64, 65_536


@dataclass(frozen=True, slots=True)
class ModelRef:
    """One model, pinned.

    model: a hub's name, or a folder; revision: the hub's commit, or a fingerprint of the folder; device: "auto" takes a
    GPU where there is one; dtype: "auto" is the checkpoint's own; offline: never ask the hub.
    """

    model: str
    revision: str
    device: str
    dtype: str
    offline: bool

    @property
    def name(self) -> str:
        """"transformers:MODEL@REVISION", of a folder its own name: where it lies does not matter."""
        return f"transformers:{Path(self.model).name if self.is_folder else self.model}@{self.revision[:12]}"

    @property
    def is_folder(self) -> bool:
        return not _COMMIT.fullmatch(self.revision)

    def version(self, *settings: object) -> str:
        """What results depend on: the pinned revision, where and in what numbers it runs, and the given settings."""
        return " ".join([self.revision, f"device {self.device} dtype {self.dtype}", *map(str, settings)])


def parse_ref(where: str, body: str, more: dict[str, Callable[[str], Any]]) -> tuple[ModelRef, dict[str, Any]]:
    """The model of `MODEL_OR_FOLDER[@REVISION][,device=..][,dtype=..][,local_files_only=yes]` and the `more` options.

    A hub's model is pinned to a commit here: the one given, or the one that branch or tag (or nothing: main) means in
    the local cache, or else on the hub. AutofocusError where there is no such model, or the hub cannot be reached.
    """
    kinds = {
        "device": _device, "dtype": one_of("auto", "float32", "float16", "bfloat16"),
        "local_files_only": one_of("yes", "no"),
    }
    head, options = split_options(where, body, kinds | more)
    need("transformers", EXTRA)
    device, dtype = options.pop("device", "auto"), options.pop("dtype", "auto")
    offline = options.pop("local_files_only", "no") == "yes"
    if Path(head).expanduser().is_dir():
        folder = Path(head).expanduser().resolve()
        return ModelRef(str(folder), _fingerprint(where, folder), device, dtype, offline), options
    model, _, revision = head.partition("@")
    if not _HUB_NAME.fullmatch(model):
        raise AutofocusError(
            where, repr(model), "a folder that is there, or a hub's name: ORGANISATION/MODEL[@REVISION]",
            "correct the name or the path",
        )
    commit = revision if _COMMIT.fullmatch(revision) else _commit(where, model, revision or "main", offline)
    return ModelRef(model, commit, device, dtype, offline), options


_LOCK = threading.RLock()
_WARM: dict[tuple[ModelRef, str], Any] = {}


def load(ref: ModelRef, what: str, loader: Callable[[Path, dict[str, Any]], Any]) -> Any:
    """What `loader(folder, arguments)` makes of a model's files; made once per process for each model and `what`.

    arguments: for `from_pretrained`: this folder only, no code from the model, weights as safetensors. Raises
    AutofocusError where files are missing, do not fit this version of transformers, or need a package that is not here.
    """
    with _LOCK:
        if (ref, what) not in _WARM:
            from safetensors import SafetensorError

            folder = Path(ref.model) if ref.is_folder else _download(ref)
            # transformers says with any of these that a checkpoint is not what it was asked to load.
            wrong = (OSError, ValueError, ImportError, RuntimeError, LookupError, AttributeError, TypeError)
            try:
                made = loader(folder, {"local_files_only": True, "trust_remote_code": False})
            except (*wrong, SafetensorError) as error:
                raise AutofocusError(
                    f"model {ref.name}", f"{type(error).__name__}: {' '.join(str(error).split())[:300]}",
                    f"a complete checkpoint ({what}) that this version of transformers can load",
                    "check model, revision, device and dtype; install what the message asks for",
                ) from error
            _WARM[ref, what] = made
        return _WARM[ref, what]


def load_weights(ref: ModelRef, auto_class: Any, folder: Path, arguments: dict[str, Any]) -> Any:
    """A model in evaluation mode on its device. AutofocusError where the checkpoint lacks weights: transformers would
    take random numbers for these, and answer."""
    import torch

    dtype = "auto" if ref.dtype == "auto" else getattr(torch, ref.dtype)
    model, info = auto_class.from_pretrained(
        folder, dtype=dtype, use_safetensors=True, output_loading_info=True, **arguments
    )
    parameters = {name for name, _ in model.named_parameters()}
    lacking = sorted(parameters & {str(key) for key in (*info["missing_keys"], *info["mismatched_keys"])})
    if lacking:
        raise AutofocusError(
            f"model {ref.name}", f"no weights for {len(lacking)} parameters, such as {lacking[0]}",
            f"a checkpoint of {type(model).__name__} with all of its weights", "choose a complete checkpoint",
        )
    return model.to(device_of(ref)).eval()


def device_of(ref: ModelRef) -> str:
    """The device that "auto" means on this machine, or the one that was named."""
    import torch

    return ("cuda" if torch.cuda.is_available() else "cpu") if ref.device == "auto" else ref.device


def _device(text: str) -> str:
    if not re.fullmatch(r"auto|cpu|mps|cuda(:\d{1,2})?", text):
        raise ValueError("auto | cpu | cuda | cuda:N | mps")
    return text


def _commit(where: str, model: str, revision: str, offline: bool) -> str:
    """The commit that a branch or tag means, by the local cache, else by the hub."""
    from huggingface_hub import HfApi, constants, try_to_load_from_cache
    from huggingface_hub.utils import httpx

    try:
        cached = try_to_load_from_cache(model, "config.json", revision=revision)
        if isinstance(cached, str):
            return Path(cached).parent.name
        if offline or constants.HF_HUB_OFFLINE:
            raise OSError("it may not be asked (local_files_only, HF_HUB_OFFLINE)")
        commit = HfApi().model_info(model, revision=revision, timeout=10).sha
    except (OSError, ValueError, httpx.HTTPError) as error:
        raise _not_here(where, model, revision, error) from error
    return str(commit)


def _download(ref: ModelRef) -> Path:
    """The folder of a hub's model, from the local cache or, once, from the hub."""
    from huggingface_hub import HfApi, constants, snapshot_download, try_to_load_from_cache
    from huggingface_hub.utils import httpx

    cached = try_to_load_from_cache(ref.model, "config.json", revision=ref.revision)
    if isinstance(cached, str) and _complete(Path(cached).parent):
        return Path(cached).parent
    try:
        if ref.offline or constants.HF_HUB_OFFLINE:
            raise OSError("it may not be asked (local_files_only, HF_HUB_OFFLINE)")
        # Asked first because it fails at once where there is no hub; a download would try for minutes.
        HfApi().model_info(ref.model, revision=ref.revision, timeout=10)
        return Path(
            snapshot_download(ref.model, revision=ref.revision, allow_patterns=FILES, ignore_patterns="*/*.safetensors")
        )
    except (OSError, httpx.HTTPError) as error:
        raise _not_here(f"model {ref.name}", ref.model, ref.revision, error) from error


def _complete(folder: Path) -> bool:
    """Whether all weights are there: those of the index, or those in one file."""
    index = folder / "model.safetensors.index.json"
    try:
        names = set(json.loads(index.read_text(encoding="utf-8"))["weight_map"].values())
    except (OSError, ValueError, LookupError):
        names = {"model.safetensors"}
    return all((folder / str(name)).is_file() for name in names)


def _not_here(where: str, model: str, revision: str, error: Exception) -> AutofocusError:
    return AutofocusError(
        where,
        f"{model}@{revision} is not, or not whole, in the local cache; the hub: {' '.join(str(error).split())[:200]}",
        "a model in the cache, a hub that can be reached, or a folder with config.json and *.safetensors",
        f"where there is a network: hf download {model} --revision {revision}; "
        "then copy the cache (HF_HOME), or name the folder instead",
    )


def _fingerprint(where: str, folder: Path) -> str:
    """Sixteen hex digits of a folder's files: names, sizes, and evenly spaced samples of each (all of a small one).

    Other weights have other samples; reading tens of gigabytes at every start would cost more than it tells.
    """
    digest = hashlib.sha256()
    try:
        files = sorted(path for path in folder.iterdir() if path.is_file() and not path.name.startswith("."))
        for path in files:
            size = path.stat().st_size
            digest.update(f"{path.name}\0{size}\0".encode())
            with path.open("rb") as file:
                for i in range(SAMPLES):
                    file.seek(max(0, (size - SAMPLE_BYTES) * i // (SAMPLES - 1)))
                    digest.update(file.read(SAMPLE_BYTES))
                    if size <= SAMPLE_BYTES:
                        break
    except OSError as error:
        raise AutofocusError(
            where, f"{folder}: {error.strerror}", "a readable folder", "check its permissions"
        ) from error
    return digest.hexdigest()[:16]
