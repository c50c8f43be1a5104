"""The five lines of a GPU, from known times."""

import pytest

from report.formats.gpu_table import five_lines, launch_share
from report.speed import Speed, SpeedRow

SETTING = {
    "what": "loop", "against": None, "batch_size": 128, "rounds": 3, "steps": 1,
    "machine": "a card", "torch": "2", "revision": "abc",
}  # fmt: skip
TIMES = {  # seconds for an image; one product, and one epoch without steps
    "none by graph": [0.010, 0.020, 0.010],
    "none": [0.020, 0.050, 0.020],
    "nam by graph": [0.011, 0.044, 0.011],
    "nam": [0.044, 0.088, 0.044],
    "product": [1e-6, 2e-6, 1e-6],
    "beside": [0.5, 0.25, 0.125],
}


def rows():
    """A network without attention and with NAM, each with and without a graph."""
    return [
        SpeedRow(
            name,
            {"model": "resnet20", "attn": attn, "graph": graph},
            plain=plain,
            macs=5000,
            arithmetic="product",
            beside="beside",
        )
        for name, attn, graph, plain in [
            ("none by graph", "none", "true", None),
            ("nam by graph", "nam", "true", "none by graph"),
            ("none", "none", "false", None),
            ("nam", "nam", "false", "none"),
        ]
    ]


@pytest.fixture
def speed():
    return Speed(rows(), TIMES, TIMES, dict.fromkeys(TIMES, 1), {}, SETTING)


def test_each_line_is_of_the_step_by_graph(speed):
    lines = five_lines(speed).splitlines()
    cells = {line.split("|")[1].strip(): line.split("|")[2].strip() for line in lines[2:7]}
    assert cells == {
        "images/s": "100",
        "attention ÷ plain": "nam 1.100",
        "share of a step that is launch": "0.62",  # between none's 0.5 and NAM's 0.75
        "epoch beside its steps, s": "0.2500",
        "time ÷ arithmetic": "2.00 [2.00, 2.00]",
    }
    assert lines[-1] == "batch 128, a card, torch 2, abc; the median of 3 rounds"


def test_the_share_of_launch_is_what_a_graph_saves(speed):
    graph, _, without, _ = speed.rows
    found = launch_share(speed, without, graph)
    assert (found.median, found.low, found.high) == pytest.approx((0.5, 0.5, 0.6))
