import pytest
from omegaconf import OmegaConf

from engine.errors import ConfigError
from scripts.cli.compose import UnknownName, build, check_names, count_classes

HARM = {"_target_": "os.mkdir", "path": "harm"}


@pytest.mark.parametrize("hidden", [[HARM], [[HARM]], "${oc.create:${harm}}"])
def test_a_target_in_a_list_or_behind_an_interpolation_runs_no_code(hidden, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    optimizer = {"_target_": "torch.optim.AdamW", "_partial_": True, "betas": hidden}
    cfg = OmegaConf.create({"optimizer": optimizer, "harm": str(HARM)})
    with pytest.raises(UnknownName, match=r"os\.mkdir is not allowed"):
        build(cfg.optimizer)
    assert not any(tmp_path.iterdir())


def test_the_keys_of_an_option_that_takes_a_mapping_are_free_and_no_others():
    recipe = {"_target_": "engine.training.Recipe", "lr_scale": {"layer4.0": 0.1}}
    known = OmegaConf.create({"recipe": recipe | {"lr_scale": None}})
    check_names(OmegaConf.create({"recipe": recipe}), known)
    with pytest.raises(UnknownName, match=r"unknown option recipe\.ema\.layer4"):
        check_names(OmegaConf.create({"recipe": recipe | {"ema": {"layer4": 0.1}}}), known)
    hidden = recipe | {"lr_scale": {"layer4": HARM}}
    with pytest.raises(UnknownName, match=r"os\.mkdir is not allowed"):
        check_names(OmegaConf.create({"recipe": hidden}), known)


def test_classes_are_counted_in_train_or_where_nothing_is_divided_yet(tmp_path):
    for name in ("cat", "dog", ".hidden"):
        (tmp_path / "undivided" / name).mkdir(parents=True)
        (tmp_path / "divided/train" / name).mkdir(parents=True)
    assert count_classes(str(tmp_path / "undivided")) == 2
    assert count_classes(str(tmp_path / "divided")) == 2
    (tmp_path / "half/test/cat").mkdir(parents=True)
    for root in ("half", "undivided/cat", "nowhere"):
        with pytest.raises(ConfigError, match=f"there is no .*{root}/train"):
            count_classes(str(tmp_path / root))
