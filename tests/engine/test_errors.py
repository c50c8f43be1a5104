import importlib.util

import pytest

from engine.errors import ResourceError, whole_compiler_cache


def load(path):
    """As torch loads what it compiled."""
    spec = importlib.util.spec_from_file_location("main", path)
    try:
        importlib.util.module_from_spec(spec)
    except ImportError as error:
        raise RuntimeError(f"ImportError: {error}\n\nSet TORCHDYNAMO_VERBOSE=1") from error


@pytest.mark.parametrize("content", [b"", b"\x7fELF", b"x" * 5000])
def test_a_library_that_a_killed_compiler_left_is_removed_and_told(tmp_path, content):
    path = tmp_path / "main.so"
    path.write_bytes(content)
    with pytest.raises(ResourceError, match=f"{path}, .* was cut off"), whole_compiler_cache():
        load(path)
    assert not path.exists()


def test_other_errors_of_libraries_pass(tmp_path):
    path = tmp_path / "main.so"
    path.write_bytes(b"")
    with pytest.raises(ImportError, match="undefined symbol"), whole_compiler_cache():
        raise ImportError(f"{path}: undefined symbol: abc")
    assert path.exists()
