"""Room for images in Fast DDS's shared memory: taken where there is room and nobody has profiles of their own."""

import os
from pathlib import Path
from xml.etree import ElementTree

import pytest
from autofocus_core import dds


def test_fast_dds_gets_room_for_images_unless_its_user_has_decided(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    space = os.statvfs(tmp_path)
    if space.f_bavail * space.f_frsize < dds.NEEDED_BYTES:
        pytest.skip("no room here to begin with")
    environment = {}
    assert dds.make_room(environment, tmp_path)
    profile = Path(environment["FASTDDS_DEFAULT_PROFILES_FILE"])
    segment = ElementTree.parse(profile).find(".//{*}segment_size")
    assert 4 * int(segment.text) == dds.NEEDED_BYTES
    for variable in ("FASTDDS_DEFAULT_PROFILES_FILE", "FASTRTPS_DEFAULT_PROFILES_FILE", "FASTDDS_BUILTIN_TRANSPORTS"):
        assert not dds.make_room({variable: "mine"}, tmp_path)
    assert not dds.make_room({}, tmp_path / "not there")
    monkeypatch.setattr(dds, "NEEDED_BYTES", 2**60)
    assert not dds.make_room({}, tmp_path)
    monkeypatch.undo()
    monkeypatch.chdir(tmp_path)
    (tmp_path / "DEFAULT_FASTDDS_PROFILES.xml").touch()
    assert not dds.make_room({}, tmp_path)
