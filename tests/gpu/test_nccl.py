"""One rank over nccl computes the numbers of a process alone."""

import subprocess
import sys
from pathlib import Path

import pytest
import torch
from torch import nn

from tests.ranked import environment, free_port

pytestmark = [pytest.mark.gpu, pytest.mark.filterwarnings("ignore")]
ROOT = Path(__file__).parents[2]


def test_one_rank_over_nccl_sums_gathers_and_ends(tmp_path):
    """In a process of its own: a process group is one of the process."""
    code = "from tests.gpu.test_nccl import one_rank; one_rank()"
    ended = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True)
    assert ended.returncode == 0, ended.stderr
    assert ended.stdout.split() == ["nccl", "done"]


def one_rank():
    import torch.distributed as dist

    from engine.distributed.process_group import init_process_group
    from engine.environment import prepare_device

    environment(0, 1, free_port())
    with init_process_group("the same") as ranks:
        device = torch.device(prepare_device(ranks.device("cuda")))
        print(dist.group.WORLD._get_backend(device).name())
        reduced(ranks, device)
        synced(ranks, device)
    print("done")


def reduced(ranks, device):
    """The gradient of four images, of which three could be read."""
    model = nn.Linear(3, 2).to(device)
    model(torch.ones(3, 3, device=device)).mean().mul(3 / 4).backward()
    expected = [p.grad * 4 / 3 for p in model.parameters()]
    hits = torch.tensor([2, 3], device=device)
    loss, hits = ranks.all_reduce_gradients(model, torch.tensor(1.5, device=device), hits, 3, 4)
    for p, gradient in zip(model.parameters(), expected, strict=True):
        torch.testing.assert_close(p.grad, gradient)
    assert (round(loss.item(), 5), hits.tolist()) == (2.0, [2, 3])
    indices = torch.tensor([2, 0, 1], device=device)
    gathered = ranks.all_gather(torch.ones(1, 3, device=device) * indices, indices, 3)
    assert gathered.tolist() == [[0, 1, 2]]
    ranks.broadcast_buffers([p.detach() for p in model.parameters()])
    assert ranks.all_reduce_max(7) == 7


def synced(ranks, device):
    """Batch norm over the only rank is batch norm."""
    plain = nn.BatchNorm2d(4).to(device)
    norm = ranks.convert_sync_batchnorm(nn.BatchNorm2d(4).to(device))
    x = torch.randn(5, 4, 3, 3, device=device)
    torch.testing.assert_close(norm(x), plain(x))
    torch.testing.assert_close(norm.running_var, plain.running_var)
