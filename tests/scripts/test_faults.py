from pathlib import Path

from scripts.faults import groups, table


def test_a_file_says_what_it_is_about():
    assert groups(Path("test_f7_f8_together.py")) == ["F7", "F8"]
    assert groups(Path("test_b5_strangers.py")) == ["B5"]


def test_the_table_adds_up_and_is_in_order():
    rows = [
        {"fault": "F12", "what": "a", "reached": 1, "of": 1},
        {"fault": "B5", "what": "b", "reached": 7, "of": 8},
        {"fault": "F2", "what": "c", "reached": 2, "of": 2},
        {"fault": "F2", "what": "c", "reached": 3, "of": 4},
    ]
    assert table(rows).splitlines()[2:] == [
        "| F2 | c | 5 | 6 |",
        "| F12 | a | 1 | 1 |",
        "| B5 | b | 7 | 8 |",
    ]
