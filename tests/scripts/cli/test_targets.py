import subprocess
import sys

import pytest

from scripts.cli.targets import UnknownTarget, options


@pytest.mark.parametrize(
    ("target", "expected"),
    [
        ("attn.NAM", ("channels", "spatial", "size")),  # through a re-export
        ("attn.nam.NAM", ("channels", "spatial", "size")),
        ("engine.training.schedule.Step", ("milestones", "gamma")),  # a dataclass
        ("engine.transforms.batch.CropFlip", ("padding", "flip")),  # class variables are no fields
        ("attn.SE", ("channels", "reduction", "bias")),
        ("torch.nn.Identity", ()),
    ],
)
def test_options_are_the_constructors(target, expected):
    assert options(target) == expected


def test_options_follow_bases_and_partials():
    assert {"name", "root", "num_classes", "val"} <= set(options("engine.datasets.cifar.CIFAR"))
    assert {"num_classes", "stem", "slots", "depths"} <= set(options("models.resnet20"))
    assert {"in_planes", "planes", "stride", "groups"} <= set(options("models.conv3x3"))
    assert {"eps", "momentum"} <= set(options("torch.nn.BatchNorm2d"))
    assert {"momentum", "weight_decay", "nesterov"} <= set(options("torch.optim.SGD"))


@pytest.mark.parametrize(
    "target",
    [
        "os.system",
        "builtins.eval",
        "subprocess.run",
        "functools.partial",
        "torch.load",
        "attn.nam.torch.hub.load",
        "engine.storage.run_dir.os.system",
        "engine.storage.checkpoint.os.system",
        "engine.storage.checkpoint.load",  # a function of ours: only classes are targets
        "engine.storage.run_dir.Path",  # imported there, but not ours
        "torch.nn.functional.relu",
        "torch.optim.nothing",
        "attn.NAMM",
        "attn.",
    ],
)
def test_everything_else_is_refused(target):
    with pytest.raises(UnknownTarget):
        options(target)


def test_looking_imports_nothing():
    code = (
        "import sys\n"
        "from scripts.cli.targets import options\n"
        "[options(t) for t in ('attn.NAM', 'models.resnet50', 'torch.optim.SGD')]\n"
        "print([m for m in ('torch', 'attn', 'models') if m in sys.modules])\n"
    )
    ended = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert ended.stdout == "[]\n"
