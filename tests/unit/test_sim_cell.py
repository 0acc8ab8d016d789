"""The simulated cell: the same seed is the same run, scenes keep their promises, truth matches the picture."""

import numpy as np
import pytest
from autofocus_core.errors import AutofocusError
from autofocus_core.schema import load_robot, load_task
from autofocus_sim import arm
from autofocus_sim.cell import Cell
from autofocus_sim.phases import TASKS, Phase
from autofocus_sim.scene import CONDITIONS, lamp_rgb, sample_scene
from autofocus_sim.truth import CUBE, GRIPPER, LAMP, MATE
from sim_config import CONFIG


@pytest.fixture(scope="module")
def cell():
    cell = Cell()
    yield cell
    cell.close()


def test_robot_file_describes_this_arm():
    """Limits and start pose stand in the robot file and in the model: they must not drift apart."""
    robot = load_robot(CONFIG / "sim_arm.yaml")
    assert robot.joint_names == arm.JOINT_NAMES
    np.testing.assert_allclose(robot.lower, arm.LOWER)
    np.testing.assert_allclose(robot.upper, arm.UPPER)
    np.testing.assert_allclose(robot.start.pose, arm.START_POSE)


@pytest.mark.parametrize("task", TASKS)
def test_task_files_name_objects_of_the_scene(cell, task):
    cell.reset(0, "nominal", task)
    assert set(load_task(CONFIG / f"{task}.yaml").objects) <= set(cell.truth(boxes=False).objects)


def test_same_seed_same_physics_and_picture(cell):
    def run():
        cell.reset(11, "mate", "lift")
        rng = np.random.default_rng(0)
        for _ in range(15):
            cell.follow(arm.START_POSE + rng.normal(size=6) * 0.1, 0.1)
        return cell.joint_positions(), cell.truth(boxes=False).objects[CUBE].position_m, cell.render()

    first = run()
    cell.reset(12, "lamp_broken", "place")
    cell.follow(arm.START_POSE + 0.1, 0.3)
    for a, b in zip(first, run()):
        np.testing.assert_array_equal(a, b)


def test_another_cell_gives_the_same(cell):
    """Nothing of a scene may hide in the object that was reset before it."""
    other = Cell("place", "lamp_broken", 3)
    cell.reset(5, "unseen", "lift")
    cell.reset(3, "lamp_broken", "place")
    for one in (cell, other):
        one.follow(arm.START_POSE + 0.1, 0.5)
    np.testing.assert_array_equal(cell.joint_positions(), other.joint_positions())
    np.testing.assert_array_equal(cell.render(), other.render())
    other.close()


def test_following_is_stepping_at_100_hz(cell):
    target = arm.START_POSE + np.array([0.1, 0.05, 0.0, 0.0, 0.1, -0.02])
    cell.reset(1, "nominal", "lift")
    cell.follow(target, 0.1)
    followed = cell.joint_positions()
    cell.reset(1, "nominal", "lift")
    for tick in range(1, 11):
        cell.step(arm.START_POSE + (target - arm.START_POSE) * (tick / 10), 0.01)
    np.testing.assert_array_equal(followed, cell.joint_positions())


def test_position_control_holds_without_droop(cell):
    cell.reset(1, "nominal", "lift")
    target = arm.START_POSE + np.array([0.3, 0.2, -0.1, 0.1, 0.2, 0.0])
    cell.follow(target, 0.5)
    cell.step(target, 0.5)
    assert np.abs(cell.joint_positions() - target).max() < 2e-3


@pytest.mark.parametrize("bad", [np.zeros(5), np.full(6, np.nan), np.array([0, 0, 0, 0, 0, np.inf])])
def test_bad_commands_are_refused(cell, bad):
    with pytest.raises(AutofocusError, match="waist"):
        cell.step(bad, 0.01)


def test_unknown_scene_is_refused():
    for arguments in (("juggle", "nominal", 0), ("lift", "moonlight", 0), ("lift", "nominal", -1)):
        with pytest.raises(AutofocusError):
            sample_scene(*arguments)


@pytest.mark.parametrize("task", TASKS)
@pytest.mark.parametrize("condition", CONDITIONS)
def test_scenes_keep_clear_of_the_cube(task, condition):
    for seed in range(60):
        scene = sample_scene(task, condition, seed)
        cube = np.array(scene.cube.position_m[:2])
        nominal = sample_scene(task, "nominal", seed)
        assert scene.cube == nominal.cube, "conditions of one seed must pair up"
        distances = [float(np.hypot(*(np.array(placed.position_m[:2]) - cube))) for placed in scene.others]
        assert min(distances) > 0.06
        if task == "pack":
            assert (scene.second_cube, scene.others[0]) == (nominal.second_cube, nominal.others[0])
            assert np.hypot(*(np.array(scene.second_cube.position_m[:2]) - cube)) > 0.09
        mates = [placed for placed in scene.others if placed.name == MATE]
        assert len(mates) == condition.startswith("mate")
        if condition == "mate":
            assert np.hypot(*(np.array(mates[0].position_m[:2]) - cube)) < 0.10
        if condition == "mate_broken":
            assert np.hypot(*(np.array(mates[0].position_m[:2]) - cube)) > 0.13


def test_unseen_colours_are_in_no_demonstration():
    def colours(condition):
        return {
            placed.name for seed in range(40) for placed in sample_scene("lift", condition, seed).others
            if "distractor" in placed.name
        }

    assert not colours("unseen") & set().union(*(colours(c) for c in CONDITIONS if c != "unseen"))


def test_a_cell_that_had_two_cubes_is_as_one_that_never_had(cell):
    """`pack` has a model of its own; the tasks of one cube must not notice that it was there before."""
    fresh = Cell("lift", "mate", 5)
    cell.reset(5, "mate", "pack")
    cell.follow(arm.START_POSE + 0.1, 0.2)
    assert "green cube" in cell.truth(boxes=False).objects
    cell.reset(5, "mate", "lift")
    for one in (cell, fresh):
        one.follow(arm.START_POSE + 0.1, 0.3)
    np.testing.assert_array_equal(cell.joint_positions(), fresh.joint_positions())
    np.testing.assert_array_equal(cell.render(), fresh.render())
    assert cell.truth(boxes=False).objects.keys() == fresh.truth(boxes=False).objects.keys()
    fresh.close()


def test_lamp_shows_nothing_that_looks_like_what_the_task_is_about():
    """A green lamp beside a green cube, or a white one beside a plate, would make the annotation of `lamp` a guess."""
    task_colours = {"place": [(0.95, 0.95, 0.93)], "pack": [(0.95, 0.95, 0.93), (0.07, 0.52, 0.13)]}
    for task, colours in task_colours.items():
        for phase in Phase:
            for colour in ((0.85, 0.09, 0.09), (1.0, 0.48, 0.0), *colours):
                assert np.abs(np.array(lamp_rgb(task, phase)) - colour).max() > 0.3, (task, phase, colour)


def test_lamp_shows_the_operators_phase_and_its_own_where_broken(cell):
    def lamp_colours(condition, phases):
        cell.reset(2, condition, "lift")
        shown = []
        for phase in phases:
            cell.operator_phase = phase
            cell.step(arm.START_POSE, 0.1)
            x, y = cell.truth().objects[LAMP].pixel_xy.astype(int)
            shown.append(tuple(cell.render()[y, x]))
        return shown

    phases = [Phase.APPROACH, Phase.DESCEND, Phase.CLOSE, Phase.LIFT] * 2
    told = lamp_colours("lamp", phases)
    assert told[:4] == told[4:] and len(set(told)) == 4
    random = [lamp_colours("lamp_broken", [phase] * 20) for phase in (Phase.APPROACH, Phase.LIFT)]
    assert random[0] == random[1] and len(set(random[0])) > 1


def test_lamp_without_operator_follows_the_experts_logic(cell):
    from autofocus_sim.demos import demonstration_rng
    from autofocus_sim.expert import Expert

    cell.reset(4, "lamp", "lift")
    expert = Expert("lift")
    expert.reset(demonstration_rng(4))
    own, experts = [], []
    for _ in range(40):
        action = expert.act(cell.truth(boxes=False), cell.joint_positions())
        own.append(cell.operator_phase)
        experts.append(int(action.phase))
        cell.follow(action.noisy, 0.1)
    assert np.mean(np.array(own) == np.array(experts)) > 0.9
    assert set(own) == {0, 1, 2, 3}


def test_exact_boxes_enclose_the_coloured_pixels(cell):
    for seed in range(5):
        cell.reset(seed, "nominal", "lift")
        picture = cell.render().astype(int)
        red = (picture[..., 0] > 80) & (picture[..., 1] < 45) & (picture[..., 2] < 45)
        rows, columns = np.nonzero(red)
        found = cell.truth(exact=True).objects[CUBE]
        np.testing.assert_allclose(
            found.box_px, [columns.min(), rows.min(), columns.max() + 1, rows.max() + 1], atol=1.0
        )
        projected = cell.truth().objects[CUBE]
        np.testing.assert_allclose(projected.box_px, found.box_px, atol=1.5)
        np.testing.assert_array_equal(projected.pixel_xy, found.pixel_xy)


def test_exact_truth_knows_occlusion(cell):
    """The arm between camera and cube: the cheap truth still says visible, the exact one shrinks or drops the box."""
    cell.reset(0, "nominal", "lift")
    data, at = cell._data, cell._cube_qpos_at[CUBE]
    data.qpos[at : at + 3] = (-0.12, 0.0, 0.018)  # behind the arm's base
    cell.step(arm.START_POSE, 0.01)
    assert not cell.truth(exact=True).objects[CUBE].visible


def test_cube_and_fingertips_are_big_enough_for_the_network(cell):
    """The network sees 72x96 px: the cube must keep 4 px there, wherever it lies."""
    for seed in range(20):
        cell.reset(seed, "nominal", "lift")
        for name in (CUBE, GRIPPER):
            found = cell.truth(exact=True).objects[name]
            assert found.visible
            x0, y0, x1, y1 = found.box_px * (96 / 320)
            assert x1 - x0 >= 4 and y1 - y0 >= 4


def test_snapshot_shown_elsewhere_is_the_same_picture(cell):
    from autofocus_sim.view import View

    view = View(cell.image_size)
    for seed, condition, task in ((1, "unseen", "lift"), (2, "mate", "pack"), (3, "lamp", "place")):
        cell.reset(seed, condition, task)
        cell.follow(arm.START_POSE + 0.05, 0.2)
        view.show(cell.snapshot())
        np.testing.assert_array_equal(view.render(), cell.render())
        there, here = view.truth(exact=True).objects, cell.truth(exact=True).objects
        assert there.keys() == here.keys()
        np.testing.assert_allclose(there[CUBE].box_px, here[CUBE].box_px)
    view.close()
