import pytest

from report.published import PublishedValue, published

ENTRY = {
    "source": "A paper",
    "url": "https://example.org/paper",
    "protocol": "one run",
    "evidence": "seen",
    "data": "cifar100",
    "values": {"resnet50": {"none": [77.26, 93.63], "nam": [80.62]}, "resnet101": {"none": [78]}},
    "cost": {"resnet50": {"none": ["23.71M", "1.30G"], "nam": ["23.74M"]}},
}


def test_an_entry_becomes_one_record_a_value():
    citation = {key: ENTRY[key] for key in ("source", "url", "protocol", "evidence", "data")}
    citation["note"] = ""
    assert published([ENTRY]) == [
        PublishedValue(**citation, model="resnet50", row="none", top1=77.26, top5=93.63,
                  params="23.71M", macs="1.30G"),
        PublishedValue(**citation, model="resnet50", row="nam", top1=80.62, params="23.74M"),
        PublishedValue(**citation, model="resnet101", row="none", top1=78),
    ]  # fmt: skip
    assert published([]) == []


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"source": ""}, r"\(no source\): source is missing"),
        ({"url": None}, "url is missing"),
        ({"url": "ftp://x"}, "url=ftp://x: expected https"),
        ({"protocol": ""}, "protocol is missing"),
        ({"evidence": "heard"}, "evidence=heard: expected seen or recalled"),
        ({"vlaues": {}}, "unknown key vlaues; there are source, url"),
        ({"values": None}, "values: expected model -> row"),
        ({"values": {"resnet50": [1.0]}}, "values: expected model -> row"),
        ({"values": {"resnet50": {"none": 77.26}}}, r"resnet50 none: expected \[top-1\]"),
        ({"values": {"resnet50": {"none": [1, 2, 3]}}}, r"resnet50 none: expected \[top-1\]"),
        ({"values": {"resnet50": {"none": [100]}}}, "100 is not between 0 and 100"),
        ({"values": {"resnet50": {"none": [0.0]}}}, "0.0 is not between 0 and 100"),
        ({"values": {"resnet50": {"none": ["77"]}}}, "'77' is not between"),
        ({"values": {"resnet50": {"none": [float("nan")]}}}, "nan is not between"),
        ({"values": {"resnet50": {"none": [22.74, 6.37]}}}, "top-5 6.37 is below top-1 22.74"),
        ({"cost": {"resnet50": {"gam": ["149.5M"]}}}, "cost: resnet50 gam has no value"),
        ({"cost": {"resnet50": {"none": [23.71]}}}, "as printed, in quotes"),
        ({"cost": {"resnet50": {"none": "23.71M"}}}, "as printed, in quotes"),
    ],
)
def test_a_wrong_entry_is_refused_in_one_line_that_names_it(change, said):
    with pytest.raises(ValueError, match=said) as refusal:
        published([ENTRY, ENTRY | {"cost": None} | change])
    assert str(refusal.value).startswith("published[1] (")
    assert "\n" not in str(refusal.value)


def test_an_entry_that_is_none_is_refused():
    with pytest.raises(ValueError, match=r"published\[0\]: expected source"):
        published(["77.26"])
