"""F20: a policy file whose network answers in another shape, dtype or number than its manifest says."""

import policy_files as files
from autofocus_core import results
from policy_cell import FakeCell, change_state, policy_argv

COMMAND = "pytest tests/faults/test_f20_wrong_output.py"
WRONG = {
    "shape": (files.WrongShape(), {}, "(1, 7, 6)"),
    "dtype": (files.WrongDtype(), {}, "float64"),
    "attention": (files.WrongAttention(), {}, "attention"),
    "one tensor": (files.OneTensor(), {}, "tuple of two tensors"),
    "NaN": (files.NotANumber(), {}, "not finite"),
    "horizon 0": (files.Sees(), {"horizon": 0}, "a whole number of at least 1"),
    "a horizon that is not the network's": (files.Sees(), {"horizon": 9}, "(1, 9, 6)"),
    "a horizon that no guard takes": (files.Sees(), {"horizon": 10**9}, "at most 1000"),
}


def test_f20_a_node_with_a_wrong_network_is_not_configured(ros_node, spawn, tmp_path, wait_until):
    """One process; the file changes under it. Camera and arm are there, so that it could command if it would."""
    cell, policy = FakeCell(ros_node), tmp_path / "policy.pt"
    process = spawn(policy_argv(policy, autostart="false"))
    for name, (module, change, words) in WRONG.items():
        files.write_policy(policy, module, files.manifest_for(files.SIM_ROBOT, **change))
        before = len(process.output_path.read_text())
        assert not change_state(ros_node, wait_until, "configure"), name
        assert not change_state(ros_node, wait_until, "activate"), name
        said = process.output_path.read_text()[before:]
        assert words in said and "fix:" in said and "Traceback" not in said, said
    commands = len(cell.requests) + len(cell.beats)
    results.record("faults", f"F20 commands from {len(WRONG)} policy files with wrong output", commands, "commands",
                   "0", commands == 0, COMMAND)
    assert commands == 0
    files.write_policy(policy)
    assert change_state(ros_node, wait_until, "configure") and change_state(ros_node, wait_until, "activate")
    wait_until(lambda: cell.requests, 10, "a request of a good one")
