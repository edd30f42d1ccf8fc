"""The timelines in docs/pictures are those that the policies draw today."""

import re

import pytest

from busauth import expiry
from scripts.pictures import FOLDER, PICTURES, Picture, drawn

PAGE = (FOLDER.parent / "timelines.md").read_text("utf-8")


@pytest.mark.parametrize("picture", PICTURES, ids=lambda picture: picture.name)
def test_a_picture_is_what_its_policy_says(picture: Picture) -> None:
    """Nothing was changed without `python -m scripts.pictures`, and a page shows it."""
    assert (FOLDER / f"{picture.name}.svg").read_text("utf-8") == drawn(picture)
    assert f"](pictures/{picture.name}.svg)" in PAGE


def test_every_policy_has_its_picture() -> None:
    """Each policy that a settings file can name is drawn, and the one that exchanges."""
    named = set(re.findall(r"\b([A-Z]\w+)\(", " ".join(picture.code for picture in PICTURES)))
    offered = {name: each for name, each in vars(expiry).items() if isinstance(each, type)}
    policies = {name for name, each in offered.items() if issubclass(each, expiry.OwnPolicy)}
    assert named == policies - {"OwnPolicy"} | {"Exchange"}
