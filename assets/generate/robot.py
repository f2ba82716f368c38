"""Kinematics and inertia of the WidowX-250S, written as URDF and SRDF.

The numbers are those of the real arm's published model; the geometry comes from `robot_arm` and `robot_gripper`.
"""

from __future__ import annotations

import math
from pathlib import Path
from typing import NamedTuple

from vlagen.assets.generate import robot_arm, robot_gripper
from vlagen.assets.generate.write import glb, obj

PI = math.pi


class Link(NamedTuple):
    """Mass [kg], centre of mass [m], orientation (roll, pitch, yaw) of the inertia frame [rad], inertia [kg m^2].

    The six inertia numbers are ixx, ixy, ixz, iyy, iyz, izz.
    """

    name: str
    mass: float
    centre: tuple[float, float, float]
    turn: tuple[float, float, float]
    inertia: tuple[float, float, float, float, float, float]


class Joint(NamedTuple):
    """A joint whose frame is only shifted: origin [m], axis, limits (lower, upper, effort, velocity) or None."""

    name: str
    kind: str
    parent: str
    child: str
    origin: tuple[float, float, float]
    axis: tuple[int, int, int]
    limits: tuple[float, float, float, float] | None


LINKS = (
    Link(
        "base_link",
        0.538736,
        (-0.0380446, 0.000613892, 0.0193354),
        (0, 0, PI / 2),
        (0.002115, -1.635e-05, 6.998e-07, 0.0006921, 4.642e-05, 0.002524),
    ),
    Link(
        "shoulder_link",
        0.480879,
        (2.23482e-05, 4.14609e-05, 0.0066287),
        (0, 0, PI / 2),
        (0.000379, 2.2e-09, -3.561e-07, 0.0005557, 1.2245e-06, 0.0005889),
    ),
    Link(
        "upper_arm_link",
        0.430811,
        (0.0171605, 2.725e-07, 0.191323),
        (0, 0, PI / 2),
        (0.003463, -1e-10, -2e-10, 0.003587, 0.0004272, 0.0004566),
    ),
    Link(
        "upper_forearm_link",
        0.234589,
        (0.107963, 0.000115876, 0),
        (0, 0, 0),
        (3.971e-05, 2.3528e-06, 0.0, 0.0008878, 0.0, 0.000888),
    ),
    Link(
        "lower_forearm_link",
        0.220991,
        (0.0374395, 0.00522252, 0),
        (PI, 0, 0),
        (6.369e-05, -2.292e-05, 0.0, 0.0001677, 0.0, 0.0001834),
    ),
    Link(
        "wrist_link",
        0.084957,
        (0.04236, -1.0663e-05, 0.010577),
        (0, 0, PI / 2),
        (3.082e-05, 1.91e-08, 2.3e-09, 2.822e-05, 2.5481e-06, 3.152e-05),
    ),
    Link(
        "gripper_link",
        0.072885,
        (0.021631, 2.516e-07, 0.01141),
        (0, 0, PI / 2),
        (2.537e-05, 0.0, 0.0, 1.836e-05, 4.34e-07, 1.674e-05),
    ),
    Link("ee_arm_link", 0.001, (0, 0, 0), (0, 0, 0), (0.001, 0.0, 0.0, 0.001, 0.0, 0.001)),
    Link(
        "gripper_prop_link",
        0.00434,
        (0.000846, -1.6817e-06, 4.2e-05),
        (0, 0, PI / 2),
        (5.923e-07, 0.0, 3.195e-07, 1.1156e-06, -4e-10, 5.743e-07),
    ),
    Link(
        "gripper_bar_link",
        0.034199,
        (0.009687, 8.177e-07, 0.004962),
        (0, 0, PI / 2),
        (7.4125e-06, -8e-10, -6e-10, 2.843e-05, -1.3889e-06, 2.86e-05),
    ),
    Link("fingers_link", 0.001, (0, 0, 0), (0, 0, 0), (0.001, 0.0, 0.0, 0.001, 0.0, 0.001)),
    Link(
        "left_finger_link",
        0.016246,
        (0.013816, 0, 0),
        (PI, PI, PI / 2),
        (4.731e-06, -4.56e-07, 0.0, 1.5506e-06, 0.0, 3.7467e-06),
    ),
    Link(
        "right_finger_link",
        0.016246,
        (0.013816, 0, 0),
        (0, PI, PI / 2),
        (4.731e-06, 4.56e-07, 0.0, 1.5506e-06, 0.0, 3.7467e-06),
    ),
    Link("ee_gripper_link", 0.001, (0, 0, 0), (0, 0, 0), (0.001, 0.0, 0.0, 0.001, 0.0, 0.001)),
)

JOINTS = (
    Joint("waist", "revolute", "base_link", "shoulder_link", (0, 0, 0.072), (0, 0, 1), (-PI, PI, 10, PI)),
    Joint(
        "shoulder",
        "revolute",
        "shoulder_link",
        "upper_arm_link",
        (0, 0, 0.03865),
        (0, 1, 0),
        (-1.8849555921538759, 1.9896753472735358, 20, PI),
    ),
    Joint(
        "elbow",
        "revolute",
        "upper_arm_link",
        "upper_forearm_link",
        (0.04975, 0, 0.25),
        (0, 1, 0),
        (-2.1467549799530254, 1.6057029118347832, 15, PI),
    ),
    Joint(
        "forearm_roll",
        "revolute",
        "upper_forearm_link",
        "lower_forearm_link",
        (0.175, 0, 0),
        (1, 0, 0),
        (-3.141582653589793, 3.141582653589793, 2, PI),
    ),
    Joint(
        "wrist_angle",
        "revolute",
        "lower_forearm_link",
        "wrist_link",
        (0.075, 0, 0),
        (0, 1, 0),
        (-1.7453292519943295, 2.1467549799530254, 5, PI),
    ),
    Joint(
        "wrist_rotate",
        "revolute",
        "wrist_link",
        "gripper_link",
        (0.065, 0, 0),
        (1, 0, 0),
        (-3.141582653589793, 3.141582653589793, 1, PI),
    ),
    Joint("ee_arm", "fixed", "gripper_link", "ee_arm_link", (0.043, 0, 0), (1, 0, 0), None),
    Joint("gripper", "fixed", "ee_arm_link", "gripper_prop_link", (0.0055, 0, 0), (1, 0, 0), None),
    Joint("gripper_bar", "fixed", "ee_arm_link", "gripper_bar_link", (0, 0, 0), (1.0, 0, 0), None),
    Joint("ee_bar", "fixed", "gripper_bar_link", "fingers_link", (0.023, 0, 0), (1, 0, 0), None),
    Joint("left_finger", "prismatic", "fingers_link", "left_finger_link", (0, 0, 0), (0, 1, 0), (0.015, 0.037, 5, 1)),
    Joint(
        "right_finger", "prismatic", "fingers_link", "right_finger_link", (0, 0, 0), (0, -1.0, 0), (0.015, 0.037, 5, 1)
    ),
    Joint("ee_gripper", "fixed", "fingers_link", "ee_gripper_link", (0.027575, 0, 0), (1, 0, 0), None),
)

LINK_SHAPES = {
    build.__name__: build
    for build in (
        robot_arm.base_link,
        robot_arm.shoulder_link,
        robot_arm.upper_arm_link,
        robot_arm.upper_forearm_link,
        robot_arm.lower_forearm_link,
        robot_arm.wrist_link,
        robot_gripper.gripper_link,
        robot_gripper.gripper_prop_link,
        robot_gripper.gripper_bar_link,
        robot_gripper.left_finger_link,
        robot_gripper.right_finger_link,
    )
}

NO_COLLISION = (
    ("base_link", "upper_arm_link"),
    ("gripper_link", "left_finger_link"),
    ("gripper_link", "right_finger_link"),
    ("gripper_bar_link", "gripper_link"),
    ("gripper_bar_link", "left_finger_link"),
    ("gripper_bar_link", "right_finger_link"),
    ("left_finger_link", "right_finger_link"),
)


def numbers(values) -> str:
    """Numbers as XML text without loss."""
    return " ".join(repr(value) for value in values)


def urdf() -> str:
    """The robot description; mesh paths are relative to the file."""
    lines = ['<?xml version="1.0" encoding="UTF-8"?>', '<robot name="wx250s">']
    for link in LINKS:
        lines.append(f'  <link name="{link.name}">')
        shape = LINK_SHAPES.get(link.name)
        if shape is not None:
            kinds = [("visual", f"meshes/{link.name}.glb")]
            if shape().hulls:
                kinds.append(("collision", f"meshes/{link.name}_hull.obj"))
            for kind, file in kinds:
                lines += [f"    <{kind}>", '      <origin rpy="0 0 0" xyz="0 0 0"/>']
                lines += [f'      <geometry><mesh filename="{file}"/></geometry>', f"    </{kind}>"]
        lines.append("    <inertial>")
        if any(link.centre) or any(link.turn):
            lines.append(f'      <origin rpy="{numbers(link.turn)}" xyz="{numbers(link.centre)}"/>')
        moments = " ".join(
            f'{k}="{v!r}"' for k, v in zip(("ixx", "ixy", "ixz", "iyy", "iyz", "izz"), link.inertia, strict=True)
        )
        lines += [f'      <mass value="{link.mass!r}"/>', f"      <inertia {moments}/>", "    </inertial>", "  </link>"]
    for joint in JOINTS:
        lines.append(f'  <joint name="{joint.name}" type="{joint.kind}">')
        lines += [
            f'    <origin rpy="0 0 0" xyz="{numbers(joint.origin)}"/>',
            f'    <axis xyz="{numbers(joint.axis)}"/>',
        ]
        lines += [f'    <parent link="{joint.parent}"/>', f'    <child link="{joint.child}"/>']
        if joint.limits is not None:
            lower, upper, effort, velocity = joint.limits
            lines.append(
                f'    <limit lower="{lower!r}" upper="{upper!r}" effort="{effort!r}" velocity="{velocity!r}"/>'
            )
        lines.append("  </joint>")
    return "\n".join([*lines, "</robot>"]) + "\n"


def srdf() -> str:
    """The link pairs that never collide."""
    pairs = [f'  <disable_collisions link1="{a}" link2="{b}" reason="Default"/>' for a, b in NO_COLLISION]
    return "\n".join(['<robot name="wx250s">', *pairs, "</robot>"]) + "\n"


def save_robot(folder: Path) -> None:
    """Write wx250s.urdf, wx250s.srdf and the meshes into `folder`."""
    meshes = folder / "meshes"
    meshes.mkdir(parents=True, exist_ok=True)
    (folder / "wx250s.urdf").write_text(urdf())
    (folder / "wx250s.srdf").write_text(srdf())
    for name, build in LINK_SHAPES.items():
        shape = build()
        (meshes / f"{name}.glb").write_bytes(glb(shape.parts))
        if shape.hulls:
            (meshes / f"{name}_hull.obj").write_text(obj(shape.hulls))
