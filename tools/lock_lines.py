"""Prints NAME==VERSION of what pip installed here from an index: the body of requirements.lock.

`pip freeze` would not do: the ROS wheels carry metadata of further names (action_msgs inside ros-action-msgs) that
no index knows.
"""

import importlib.metadata

versions = {}
for distribution in importlib.metadata.distributions():
    by_pip = (distribution.read_text("INSTALLER") or "").strip() == "pip"
    from_a_folder = '"dir_info"' in (distribution.read_text("direct_url.json") or "")
    if by_pip and not from_a_folder and distribution.metadata["Name"] != "pip":
        versions[distribution.metadata["Name"]] = distribution.version.split("+")[0]
print("\n".join(f"{name}=={version}" for name, version in sorted(versions.items(), key=lambda row: row[0].lower())))
