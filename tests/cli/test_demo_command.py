"""The experiment in miniature; training itself is tested beside the local backend."""

from click.testing import CliRunner

from em_evals import checkpoints
from em_evals.cli import main
from em_evals.cli.demo import FILE


def test_without_its_option_it_says_what_there_is(tmp_path):
    result = CliRunner().invoke(main, ["demo", "--dir", str(tmp_path / "x")])
    assert result.exit_code == 2
    assert "give --experiment; `make demo` probes the embedded model alone" in result.stderr
    assert not (tmp_path / "x").exists()


def test_an_interrupt_ends_it_with_status_130_and_says_how_it_goes_on(tmp_path, monkeypatch):
    def interrupted(*args):
        raise KeyboardInterrupt

    monkeypatch.setattr("em_evals.finetune.recipes.build", interrupted)
    monkeypatch.setenv("EM_EVALS_FINETUNES", str(tmp_path))
    result = CliRunner().invoke(main, ["demo", "--experiment", "--dir", str(tmp_path / "x")])
    assert (result.exit_code, result.stdout) == (130, "")
    assert result.stderr == "Interrupted; the same command again goes on from here.\n"


def test_the_file_that_it_begins_with_has_the_base_and_the_local_judge(tmp_path):
    file = tmp_path / "checkpoints.yaml"
    file.write_text(FILE)
    found = checkpoints.load(file)
    assert [c.name for c in found.checkpoints] == ["base"]
    assert found.grader.model == "local/em-judge"
