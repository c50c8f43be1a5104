"""Separate seeds of the initial weights, of the order of images, and of augmentation."""

import pytest

from engine.errors import ConfigError
from engine.seeds import Seeds
from engine.storage.run_dir import RunDir

BEFORE = {"seed": 3, "data": {"name": "cifar100"}}  # as a run stored it without separate seeds


def fingerprint(**options):
    return RunDir(None, BEFORE | options, {}).fingerprint


def test_a_part_without_a_seed_has_the_seed_of_the_run():
    assert Seeds.of({"seed": 3}) == Seeds(3, 3, 3)
    assert Seeds.of({"seed": 3, "seed_init": None, "seed_order": 0}) == Seeds(3, 0, 3)
    assert Seeds.of({"seed": 3, "seed_init": 1, "seed_augment": 2}) == Seeds(1, 3, 2)


@pytest.mark.parametrize("key", ["seed", "seed_init", "seed_order", "seed_augment"])
@pytest.mark.parametrize("value", [-1, 2**63, 1.0, True, "1"])
def test_a_wrong_seed_is_named(key, value):
    with pytest.raises(ConfigError, match=f"{key}={value}: expected a whole number"):
        Seeds.of({"seed": 0, key: value})


def test_only_a_part_with_a_seed_of_its_own_changes_the_identity_of_a_run():
    nothing = dict.fromkeys(("seed_init", "seed_order", "seed_augment"))
    assert fingerprint(**nothing) == fingerprint()
    others = [fingerprint(**nothing | {key: 3}) for key in nothing]
    assert len({fingerprint(), *others}) == 4
