"""`scripts/faults.py` finds the tests of a fault by their marker and adds up their counts."""

import pytest

from scripts.faults import collect_faults, table


def test_the_faults_of_a_file_are_those_of_its_markers(tmp_path):
    (tmp_path / "test_two.py").write_text(
        "import pytest\n"
        'pytestmark = pytest.mark.fault("F7", "F8")\n'
        "def test_a(): ...\n"
        '@pytest.mark.fault("F12")\n'
        "def test_b(): ...\n"
    )
    (tmp_path / "test_none.py").write_text("def test_c(): ...\n")
    assert collect_faults(tmp_path) == {tmp_path / "test_two.py": {"F7", "F8", "F12"}}


def test_tests_that_cannot_be_collected_end_the_script_with_the_output_of_pytest(tmp_path):
    (tmp_path / "test_broken.py").write_text("import nothing_of_this_name\n")
    with pytest.raises(SystemExit, match="nothing_of_this_name"):
        collect_faults(tmp_path)


def test_the_table_adds_up_the_counts_in_the_order_of_the_faults():
    counts = [
        {"fault": "F12", "what": "a", "reached": 1, "of": 1},
        {"fault": "B5", "what": "b", "reached": 7, "of": 8},
        {"fault": "F2", "what": "c", "reached": 2, "of": 2},
        {"fault": "F2", "what": "c", "reached": 3, "of": 4},
    ]
    assert table(counts).splitlines()[2:] == [
        "| F2 | c | 5 | 6 |",
        "| F12 | a | 1 | 1 |",
        "| B5 | b | 7 | 8 |",
    ]
