"""The 25 objects: 16 for training, then 9 of other kinds held out."""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

from vlagen.assets.generate import food, household, produce, toys
from vlagen.assets.generate.shapes import Shape


class Model(NamedTuple):
    """One model: file name, words in the instruction, density of the hull volume [kg/m^3], builder."""

    name: str
    text: str
    density: float
    build: Callable[[], Shape]


TRAIN_OBJECTS = 16

OBJECTS = (
    Model("carrot", "carrot", 1040.0, produce.carrot),
    Model("banana", "banana", 700.0, produce.banana),
    Model("toy_car", "toy car", 600.0, toys.toy_car),
    Model("mug", "mug", 900.0, household.mug),
    Model("soda_can", "soda can", 800.0, household.soda_can),
    Model("ketchup_bottle", "ketchup bottle", 900.0, household.ketchup_bottle),
    Model("strawberry", "strawberry", 900.0, produce.strawberry),
    Model("hamburger", "hamburger", 800.0, food.hamburger),
    Model("rubber_duck", "rubber duck", 600.0, toys.rubber_duck),
    Model("bread", "bread", 500.0, food.bread),
    Model("toy_brick", "toy brick", 800.0, toys.toy_brick),
    Model("cupcake", "cupcake", 700.0, food.cupcake),
    Model("eggplant", "eggplant", 800.0, produce.eggplant),
    Model("sponge", "sponge", 300.0, household.sponge),
    Model("tennis_ball", "tennis ball", 500.0, toys.tennis_ball),
    Model("screwdriver", "screwdriver", 1300.0, household.screwdriver),
    Model("donut", "donut", 700.0, food.donut),
    Model("pepper", "pepper", 600.0, produce.pepper),
    Model("milk_carton", "milk carton", 900.0, household.milk_carton),
    Model("pear", "pear", 900.0, produce.pear),
    Model("toy_boat", "toy boat", 600.0, toys.toy_boat),
    Model("hammer", "hammer", 1500.0, household.hammer),
    Model("mushroom", "mushroom", 700.0, produce.mushroom),
    Model("watermelon_slice", "watermelon slice", 900.0, food.watermelon_slice),
    Model("teapot", "teapot", 900.0, household.teapot),
)
