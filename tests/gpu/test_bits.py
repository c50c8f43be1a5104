"""With deterministic=true, a run on a GPU has the same bits every time, interrupted or not.

torch warns of an operation whose bits may differ, and pytest makes an error of the warning.
"""

import pytest

from engine.seeds import same_seeds

pytestmark = pytest.mark.gpu
PRECISIONS = ["fp32", "strict_fp32", "bf16", "fp16"]
ATTENTIONS = ["none", "nam", "se", "cbam", "triplet", "dia", "aff", "sem"]


@pytest.mark.parametrize("graph", [False, True])
@pytest.mark.parametrize("precision", PRECISIONS)
def test_two_runs_of_each_precision_have_the_same_bits(new_run, train, same_bits, precision, graph):
    first, second = (new_run("nam", precision, graph, ema=0.9) for _ in range(2))
    assert train(first) == train(second)
    assert same_bits(first, second)


@pytest.mark.parametrize("attn", ATTENTIONS)
def test_two_runs_with_each_attention_have_the_same_bits(new_run, train, same_bits, attn):
    first, second = new_run(attn), new_run(attn)
    assert train(first) == train(second)
    assert same_bits(first, second)


@pytest.mark.parametrize("graph", [False, True])
@pytest.mark.parametrize("precision", PRECISIONS)
@pytest.mark.parametrize("steps", [2, 13])
def test_a_run_that_is_interrupted_ends_with_the_same_bits(
    new_run, train, same_bits, tmp_path, steps, precision, graph
):
    """A resumed run repeats the warm-up of its graph, at steps that the other run replayed."""
    unbroken, first = (new_run("se", precision, graph, clip_norm=1.0) for _ in range(2))
    train(unbroken)
    train(first, steps)
    first.save(tmp_path)
    second = new_run("se", precision, graph, clip_norm=1.0)
    assert second.resume(tmp_path)
    train(second)
    assert same_bits(second, unbroken)


def test_control_another_seed_has_other_bits(new_run, train, same_bits):
    first, second = new_run(), new_run()
    second.seeds = same_seeds(1)
    train(first)
    train(second)
    assert not same_bits(first, second)
