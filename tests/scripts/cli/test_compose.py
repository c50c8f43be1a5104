import pytest
from omegaconf import OmegaConf

from scripts.cli.compose import UnknownName, build

HARM = {"_target_": "os.mkdir", "path": "harm"}


@pytest.mark.parametrize("hidden", [[HARM], [[HARM]], "${oc.create:${harm}}"])
def test_a_target_in_a_list_or_behind_an_interpolation_runs_no_code(hidden, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    optimizer = {"_target_": "torch.optim.AdamW", "_partial_": True, "betas": hidden}
    cfg = OmegaConf.create({"optimizer": optimizer, "harm": str(HARM)})
    with pytest.raises(UnknownName, match=r"os\.mkdir is not allowed"):
        build(cfg.optimizer)
    assert not any(tmp_path.iterdir())
