from report.headline import headline
from report.table import judged, of_records


def said(new_record, **rows):
    runs = [
        new_record(name, seed, value)
        for name, values in rows.items()
        for seed, value in enumerate(values)
    ]
    return headline(judged(of_records(runs))[0])


NONE = (90.0, 90.3, 90.2)


def test_gains_losses_and_the_rest_are_told_with_their_sizes(new_record):
    sentence = said(
        new_record, none=NONE, se=(92.0, 92.4, 92.1), nam=(80.0, 80.1, 80.4),
        sem=(85.0, 85.2, 85.4), eca=(90.1, 90.4, 90.2),
    )  # fmt: skip
    assert sentence == (
        "With 3 seeds, se gains 2.0 points; sem and nam lose 5.0 to 10.0 points; "
        "eca cannot be told from none (a difference below 0.3 is not resolved)."
    )


def test_one_seed_tells_nothing(new_record):
    sentence = said(new_record, none=NONE[:1], se=(99.0,))
    assert sentence == "With 1 seed, se cannot be told from none."


def test_unequal_numbers_of_seeds_are_told(new_record):
    assert said(new_record, none=NONE, se=(99.0, 99.2)).startswith("With 2 to 3 seeds, se gains")


def test_without_a_baseline_there_is_no_sentence(new_record):
    assert said(new_record, se=(99.0, 99.2)) == ""
