import pytest
from hydra import compose, initialize_config_dir

from scripts.cli.compose import UnknownName, check_names
from scripts.cli.overrides import CONF

MEANT = {
    "lr=0.1": "did you mean recipe.lr=0.1?",
    "epochs=3": "did you mean recipe.epochs=3?",
    "epoch=3": "did you mean recipe.epochs=3?",
    "batch_size=64": "did you mean recipe.batch_size=64?",
    "momentum=0.8": "did you mean recipe.optimizer.momentum=0.8?",
    "recipe.weight_decay=0": "did you mean recipe.optimizer.weight_decay=0?",
    "milestones=[60,120]": "did you mean recipe.schedule.milestones?",
    "flip=false": "did you mean recipe.augment.flip=false?",
    "image_size=64": "did you mean data.image_size=64 or model.image_size=64?",
    "root=images": "did you mean data.root=images?",
    "workers=4": "data.workers is an option of data=imagenet",
    "reduction=8": "attn.reduction is an option of attn=aff, attn=bam, attn=cbam, ",
    "modle=resnet50": "did you mean model?",
    "sede=1": "did you mean seed?",
    "model.lr=1": "choose from ",
    "zzz=1": "choose from attn, checkpoint_seconds, ",
}


@pytest.mark.parametrize(("word", "meant"), MEANT.items())
def test_an_option_in_the_wrong_place_is_shown_in_the_right_one(word, meant):
    with initialize_config_dir(str(CONF), version_base="1.3"):
        known, cfg = compose("train"), compose("train", [f"++{word}"])
    with pytest.raises(UnknownName) as refused:
        check_names(cfg, known)
    assert f"unknown option {word.partition('=')[0]}; {meant}" in str(refused.value)
