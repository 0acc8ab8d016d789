"""Writing a rosbag2 directory: MCAP files and metadata.yaml of version 9, complete or not there at all."""

from __future__ import annotations

import contextlib
import os
import shutil
from collections.abc import Mapping
from pathlib import Path

from autofocus_core import messages
from autofocus_core.bag_files import BagFiles, FileRules
from autofocus_core.bag_metadata import TopicEntry, dump, load, qos_profile
from autofocus_core.errors import AutofocusError
from autofocus_core.files import exchange, sync_folder, write_atomic, write_synced
from autofocus_core.locks import is_locked, lock_folder
from autofocus_core.mcap_chunk import COMPRESSIONS

__all__ = ["BagWriter", "is_being_written", "qos_profile", "write_atomic", "write_synced"]

METADATA_FILE = "metadata.yaml"
#: rosbag2's own lower limit for its MCAP storage.
MIN_FILE_BYTES = 1024


class BagWriter:
    """Writes raw CDR messages into a bag that `ros2 bag info` and `ros2 bag play` open.

    All is written in ``<path><working_suffix>`` and renamed to `path` by :meth:`close`, after fsync: a
    directory under its final name is complete. What exists is not overwritten, except with `replace`,
    for what can be made again. One thread writes; :meth:`sync` may be called from another.

    `compression` is that of MCAP chunks ("none" or "zstd"). Each chunk, the data as a whole and the summary carry a
    CRC. A new storage file is begun with the first message after `max_file_bytes` or `max_file_s` (by receive
    stamps) are reached; each file is complete in itself.
    """

    def __init__(
        self,
        path: str | Path,
        compression: str = "none",
        ros_distro: str | None = None,
        *,
        working_suffix: str = ".partial",
        custom_data: Mapping[str, str] | None = None,
        replace: bool = False,
        max_file_bytes: int | None = None,
        max_file_s: float | None = None,
    ) -> None:
        self.path = Path(path)
        self.working = self.path.with_name(self.path.name + working_suffix)
        self.ros_distro = ros_distro or messages.default_distro()
        self._replace = replace
        self._check(compression, max_file_bytes, max_file_s)
        messages.typestore(self.ros_distro)
        self._make_room()
        rules = FileRules(compression, max_file_bytes, None if max_file_s is None else round(max_file_s * 1e9))
        made = [folder for folder in (self.working, *self.working.parents) if not folder.exists()]
        new_in = [folder.parent for folder in made]
        try:
            self.working.mkdir(parents=True)
            self._lock = lock_folder(self.working)
            try:
                self._files = BagFiles(
                    self.working, self.path.name, rules, self.ros_distro, dict(custom_data or {}), new_in
                )
            except OSError:
                os.close(self._lock)
                self.working.rmdir()
                raise
        except OSError as error:
            raise AutofocusError(
                f"bag {self.path}", error.strerror or str(error), "a writable folder", "choose another output folder"
            ) from error
        self._state = "writing"

    def _check(self, compression: str, max_file_bytes: int | None, max_file_s: float | None) -> None:
        for name, got, allowed, ok in (
            ("compression", compression, " | ".join(COMPRESSIONS), compression in COMPRESSIONS),
            (
                "max_file_bytes",
                max_file_bytes,
                f"None, or at least {MIN_FILE_BYTES}",
                max_file_bytes is None or max_file_bytes >= MIN_FILE_BYTES,
            ),
            ("max_file_s", max_file_s, "None, or more than 0", max_file_s is None or max_file_s > 0),
        ):
            if not ok:
                raise AutofocusError(f"bag {self.path}: {name}", repr(got), allowed, "choose one of these")

    def _make_room(self) -> None:
        if self._replace and self.working.exists() and not is_locked(self.working):
            shutil.rmtree(self.working)  # left by one that was killed
        for taken in (self.working,) if self._replace else (self.path, self.working):
            if taken.exists():
                raise AutofocusError(
                    f"bag {self.path}",
                    f"{taken} exists",
                    "a path that does not exist",
                    "choose another name, or move it away",
                )

    @property
    def counts(self) -> dict[str, int]:
        """Messages written so far, by topic."""
        return self._files.counts

    @property
    def files(self) -> int:
        """Storage files begun so far."""
        return self._files.begun

    @property
    def bytes_written(self) -> int:
        """Bytes of all storage files so far, with those of the chunk in hand."""
        return self._files.size

    def add_topic(
        self,
        name: str,
        type: str,
        qos_yaml: str = "",
        *,
        msgdef: str = "",
        type_hash: str = "",
        msgdef_encoding: str = "ros2msg",
    ) -> None:
        """Declare a topic before its first message.

        `qos_yaml`: the publishers' offers as a YAML list of rosbag2 profiles (see :func:`qos_profile`); empty:
        unknown. `msgdef` (as `msgdef_encoding`, "ros2msg" or "ros2idl") and `type_hash` are needed for types that
        are not standard ones.
        """
        if name in self._files:
            raise AutofocusError(f"bag {self.path}", f"topic {name} added twice", "each topic once", "add it once")
        if not msgdef:
            msgdef, type_hash = messages.definition(type, self.ros_distro)
        qos = load(qos_yaml) if qos_yaml.strip() else []
        self._files.add_topic(TopicEntry(name, type, type_hash, qos), msgdef, msgdef_encoding)

    def write(self, topic: str, raw_cdr: bytes, receive_ns: int, header_ns: int | None) -> None:
        """Append a message: CDR bytes as received, receive stamp, header stamp (None: it has none).

        Raises OSError where the disk fails. The message is kept then: it gets into the bag if a later flush succeeds.
        """
        # MCAP times are unsigned; a negative header stamp is a publisher's fault that is counted elsewhere.
        publish_ns = receive_ns if header_ns is None or header_ns < 0 else header_ns
        if topic not in self._files:
            raise AutofocusError(f"bag {self.path}", f"topic {topic}", ", ".join(self.counts), "call add_topic first")
        self._files.write(topic, raw_cdr, receive_ns, publish_ns)

    def flush(self) -> None:
        """Close the chunk in hand and give it to the system: from here on it survives the end of this process."""
        self._files.flush()

    def sync(self) -> None:
        """Wait until all that was flushed is on the disk. May be called from another thread than write().

        Raises OSError where the disk fails; the bag can then not be closed as a complete one.
        """
        self._files.sync()

    def put_sidecar(self, name: str, text: str) -> None:
        """Write a text file into the working directory, atomically; :meth:`close` may replace it."""
        if self._state == "closed":
            raise AutofocusError(f"bag {self.path}", "closed already", "an open bag", "write it before close")
        if name in ("", "..", METADATA_FILE) or name != Path(name).name or name.endswith(".mcap"):
            raise AutofocusError(
                f"bag {self.path}: sidecar", repr(name), "a file name that rosbag2 does not use", "choose another name"
            )
        write_atomic(self.working / name, text)

    def finish(self) -> None:
        """Complete the files and metadata.yaml, synced, still under the working name; :meth:`close` does the rest.

        Raises OSError where the disk fails: what could be written is then in the working directory, for recovery.
        """
        if self._state != "writing":
            raise AutofocusError(f"bag {self.path}", f"{self._state} already", "one close", "close it once")
        try:
            document = {"rosbag2_bagfile_information": self._files.finish()}
            write_synced(self.working / METADATA_FILE, dump(document))
        except OSError:
            self.abort()
            raise
        self._state = "finished"
        self._files.close()

    def close(self, sidecars: Mapping[str, str] | None = None, *, destination: Path | None = None) -> Path:
        """Finish the bag, add `sidecars` {file name: text}, rename, and give the final path.

        `destination` replaces `path` (a discarded recording is kept elsewhere, not deleted). Raises OSError as
        :meth:`finish` does.
        """
        if self._state != "finished":
            self.finish()
        target = Path(destination) if destination is not None else self.path
        try:
            for name, text in (sidecars or {}).items():
                self.put_sidecar(name, text)
            sync_folder(self.working)
            self._publish(target)
        finally:
            self._let_go()
        return target

    def _publish(self, target: Path) -> None:
        """Rename the working directory to `target`."""
        target.parent.mkdir(parents=True, exist_ok=True)
        if target.exists() and not self._replace:
            raise AutofocusError(
                f"bag {target}",
                "exists already",
                "a path that does not exist",
                f"the finished bag is {self.working}: rename it by hand",
            )
        if not target.exists():
            self.working.rename(target)
            sync_folder(target.parent)
            return
        replaced = self.working
        if not exchange(self.working, target):  # nobody ever sees a moment without either
            replaced = target.with_name(target.name + ".old")
            shutil.rmtree(replaced, ignore_errors=True)
            target.rename(replaced)
            self.working.rename(target)
        sync_folder(target.parent)
        shutil.rmtree(replaced, ignore_errors=True)

    def abort(self) -> None:
        """Let go of the files and leave the working directory as it is, unfinished, for recovery."""
        if self._state == "writing":
            with contextlib.suppress(OSError):  # the disk may be full: what is there, is there
                self._files.flush()
        if self._state != "closed":
            self._let_go()

    def _let_go(self) -> None:
        self._state = "closed"
        self._files.close()
        os.close(self._lock)

    def __enter__(self) -> BagWriter:
        return self

    def __exit__(self, exc_type: object, exc: object, trace: object) -> None:
        if exc_type is not None:
            self.abort()
        elif self._state == "writing":
            self.close()


def is_being_written(working: str | Path) -> bool:
    """Whether a living process writes (or rebuilds) this working directory; False where there is none."""
    return is_locked(working)
