"""Files of strangers are read or refused in one sentence; reading one waits for nothing."""

import os

import pytest

from engine.errors import ConfigError
from engine.storage import strict
from engine.storage.atomic import read_json
from engine.storage.run_dir import RunDir
from engine.storage.strict import parse_json, parse_yaml, read_text


def bomb(levels=9, width=9):
    """A YAML file whose aliases would multiply to width**levels items."""
    lines = ["a0: &a0 x"]
    for i in range(1, levels):
        items = ", ".join([f"*a{i - 1}"] * width)
        lines.append(f"a{i}: &a{i} [{items}]")
    return "\n".join(lines)


REFUSED = {
    "an alias bomb": (bomb(), "line 2: it uses an alias"),
    "a tag that runs code": ("a: !!python/object/apply:os.system [ls]", "line 1: .*constructor"),
    "a key given twice": ("seed: 0\ndata: {a: 1, a: 2}", "the key a is there twice"),
    "deep nesting": ("a: " + "[" * 5000 + "]" * 5000, "nested too deeply"),
    "an unclosed quote": ('a: "b', "line 1: .*end of stream"),
    "a control character": ("a: \x07", "no YAML"),
    "a number": ("5", "holds no mapping"),
    "a list": ("[1, 2]", "holds no mapping"),
    "nothing": ("", "holds no mapping"),
    "two documents": ("a: 1\n---\na: 2", "document"),
    "a key that is a list": ("? [a]\n: 1", "unhashable|key"),
}


@pytest.mark.parametrize("case", REFUSED)
def test_what_no_run_wrote_is_refused_in_one_sentence(case):
    text, said = REFUSED[case]
    with pytest.raises(ValueError, match=said) as refusal:
        parse_yaml(text)
    assert "\n" not in str(refusal.value)


def test_a_configuration_is_read_as_yaml_reads_it():
    assert parse_yaml("a: {b: [1, 2.5, null, true]}\nc: 'x'") == {
        "a": {"b": [1, 2.5, None, True]},
        "c": "x",
    }


def pipe(path):
    os.mkfifo(path)


def device(path):
    path.symlink_to("/dev/zero")


def folder(path):
    path.mkdir()


def no_text(path):
    path.write_bytes(b"a: \xff")


def huge(path):
    path.write_text("a: 1" + " " * 200)


@pytest.mark.parametrize("make", [pipe, device, folder, no_text, huge])
def test_what_is_no_small_text_file_is_refused(make, tmp_path, monkeypatch):
    monkeypatch.setattr(strict, "LARGEST", 100)
    make(tmp_path / "file")
    with pytest.raises(ValueError, match=r"regular file|UTF-8|are not read"):
        read_text(tmp_path / "file")


@pytest.mark.parametrize("text", ["[" * 100_000, '{"a": 1', "\0", '{"a": ' * 5000])
def test_what_is_no_json_is_refused(text):
    with pytest.raises(ValueError, match=r"\w"):
        parse_json(text)


NO_RESULTS = ["5", "true", "[]", "null", '{"top1": 1}', '{"top1": 1' + "0" * 400 + ', "top5": 1}']
NO_RESULTS += [f'{{"top1": {value}, "top5": 1}}' for value in ("NaN", "Infinity", "101", '"x"')]


@pytest.mark.parametrize("content", NO_RESULTS)
def test_a_result_that_is_none_is_no_finished_run(content, tmp_path):
    (tmp_path / "result.json").write_text(content)
    with pytest.raises(ConfigError, match="is no result of a run"):
        RunDir(tmp_path, {"seed": 0}, {}).result()


def test_a_json_file_that_cannot_be_read_is_named(tmp_path):
    os.mkfifo(tmp_path / "x.json")
    with pytest.raises(ConfigError, match=r"x\.json cannot be read \(it is no regular file\)"):
        read_json(tmp_path / "x.json")
    assert read_json(tmp_path / "nothing.json") is None
