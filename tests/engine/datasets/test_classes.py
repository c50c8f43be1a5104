import pytest
import torch

from engine.datasets.classes import choose, label_map, short_list
from engine.datasets.in_memory import Images


def test_classes_are_chosen_by_number_or_by_name_in_their_order():
    there = ("ant", "bee", "cat")
    assert choose(there, None) == there
    assert choose(there, 2) == ("ant", "bee")
    assert choose(there, ["cat", "ant"]) == ("ant", "cat")
    with pytest.raises(ValueError, match="there are 3"):
        choose(there, 0)
    with pytest.raises(ValueError, match="did you mean bee"):
        choose(there, ["beee"])


@pytest.mark.parametrize(
    ("there", "labels"),
    [(("ant", "bee", "cat"), [0, 1, 2]), (("cat", "ant"), [2, 0]), (("bee",), [1])],
)
def test_labels_follow_the_names_of_the_trained_classes(there, labels):
    known = ("ant", "bee", "cat")
    assert label_map(there, known).tolist() == labels
    images = Images(torch.zeros(len(there), 1, 1, 3), torch.arange(len(there)), there)
    numbered = images.numbered_by(known)
    assert numbered.labels.tolist() == labels
    assert numbered.classes == known


def test_a_class_that_the_network_does_not_know_is_refused():
    with pytest.raises(ValueError, match=r"was not trained on zz_ant.*knows ant, bee"):
        label_map(("bee", "zz_ant"), ("ant", "bee"))


def test_long_lists_are_cut():
    assert short_list("abc") == "a, b, c"
    assert short_list("abcdefg") == "a, b, c, d, e and 2 more"
