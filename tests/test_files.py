import pytest

from em_evals.files import replacing, sha256


def test_a_file_is_replaced_once_all_of_it_is_written(tmp_path):
    file = tmp_path / "table.csv"
    file.write_text("old")
    with replacing(file) as part:
        part.write_text("new")
        assert file.read_text() == "old"
    assert file.read_text() == "new"
    assert list(tmp_path.iterdir()) == [file]


def break_off(file, wrong):
    """Write half of a file."""
    with replacing(file) as part:
        part.write_text("ne")
        raise wrong


@pytest.mark.parametrize("wrong", [ValueError, KeyboardInterrupt])
def test_an_error_leaves_the_old_file_and_nothing_beside_it(tmp_path, wrong):
    file = tmp_path / "table.csv"
    file.write_text("old")
    with pytest.raises(wrong):
        break_off(file, wrong)
    assert file.read_text() == "old"
    assert list(tmp_path.iterdir()) == [file]


def test_an_error_leaves_no_file_where_there_was_none(tmp_path):
    with pytest.raises(ValueError, match="wrong"):
        break_off(tmp_path / "table.csv", ValueError("wrong"))
    assert list(tmp_path.iterdir()) == []


def test_an_error_of_the_system_names_the_file_that_was_to_be_written(tmp_path):
    file = tmp_path / "nowhere" / "table.csv"
    with pytest.raises(FileNotFoundError) as raised, replacing(file) as part:
        part.write_text("new")
    assert raised.value.filename == str(file)


def test_a_link_stays_one_and_permissions_stay(tmp_path):
    (tmp_path / "real").mkdir()
    file = tmp_path / "real" / "a.yaml"
    file.write_text("old")
    file.chmod(0o600)
    link = tmp_path / "a.yaml"
    link.symlink_to(file)
    with replacing(link) as part:
        part.write_text("new")
    assert link.is_symlink()
    assert file.read_text() == "new"
    assert file.stat().st_mode & 0o777 == 0o600


def test_a_files_sha256_is_that_of_its_bytes(tmp_path):
    (tmp_path / "a").write_bytes(b"abc")  # the example of FIPS 180-2
    assert sha256(tmp_path / "a") == (
        "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"
    )
