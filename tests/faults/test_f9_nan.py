"""F9: whatever is not finite any more, the run stops, says where, and can go on from before."""

import torch

RUN = [
    "data=digits", "data.image_size=8", "data.val=1200", "model=resnet20", "recipe=digits",
    "recipe.epochs=2", "recipe.ema=0.9", "device=cpu",
]  # fmt: skip
WHERE = " is not finite at step 3 of epoch 2 (lr "
FAULTS = {  # what forked.py spoils: what is told
    "input": "the input of the network",
    "output": "the output of layer2.1.conv1 (Conv2d)",
    "loss": "the loss",
    "gradient": "the gradient at the output of layer2.1.conv1 (Conv2d)",
    "buffer": "layer2.1.bn1.running_var",
    "weight": "layer2.1.conv1.weight",
}


def is_told(what, cwd):
    said = [line for line in (cwd / "output.txt").read_text().splitlines() if "train.py: " in line]
    return len(said) == 1 and said[0].startswith(f"train.py: {FAULTS[what]}{WHERE}")


def is_kept(cwd):
    (file,) = cwd.rglob("last.pt")
    state = torch.load(file, weights_only=True)
    finite = all(tensor.isfinite().all() for tensor in state["model"].values())
    return (state["epoch"], state["step"]) == (1, 0) and finite


def weights(cwd):
    (file,) = cwd.rglob("weights.safetensors")
    return file.read_bytes()


def test_f9_what_is_not_finite_stops_the_run_and_is_named(tally, tmp_path, forked):
    folders = {what: tmp_path / what for what in FAULTS}
    run = {"arguments": RUN}
    codes = forked(*(run | {"cwd": cwd, "spoil": what} for what, cwd in folders.items()))
    told = [
        code == 1 and is_told(what, cwd) and is_kept(cwd)
        for code, (what, cwd) in zip(codes, folders.items(), strict=True)
    ]
    tally("F9", "not finite: told in one line, exit code 1, the last checkpoint kept", told)


def test_f9_without_the_fault_the_run_goes_on_from_there(rounds, tally, tmp_path, forked):
    unbroken, run = tmp_path / "unbroken", {"arguments": RUN}
    folders = {what: tmp_path / what for what in list(FAULTS)[: rounds(1, 6)]}
    jobs = [run | {"cwd": unbroken}]
    for what, cwd in folders.items():
        jobs += [run | {"cwd": cwd, "spoil": what}, run | {"cwd": cwd}]
    assert forked(*jobs) == [0] + [1, 0] * len(folders)
    equal = [weights(cwd) == weights(unbroken) for cwd in folders.values()]
    tally("F9", "after it, without the fault: equal to the bit", equal)
