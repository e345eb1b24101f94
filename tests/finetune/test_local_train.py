"""Local training: what it learns, and that no interruption changes it."""

import json
from dataclasses import replace

import pytest

from em_evals.errors import InputError
from em_evals.finetune.local.settings import EMBEDDED, OPEN_MODELS
from tests.analysis.stopped import room_for
from tests.finetune.tiny import QUICK, killed, model_folder, result, run_in, training_file

torch = pytest.importorskip("torch", reason="em-evals[train] is not installed")
pytest.importorskip("peft", reason="em-evals[train] is not installed")
pytestmark = pytest.mark.train


@pytest.fixture(scope="module")
def model(tmp_path_factory):
    return model_folder(tmp_path_factory.mktemp("model"))


@pytest.fixture(scope="module")
def rows(tmp_path_factory):
    return training_file(tmp_path_factory.mktemp("rows") / "train.jsonl")


@pytest.fixture(scope="module")
def whole(model, rows, tmp_path_factory):
    """A run without interruption."""
    return trained(run_in(tmp_path_factory.mktemp("whole") / "run", model, rows))


def trained(run):
    from em_evals.finetune.local.train import train

    train(run)
    return run


def step_of(run):
    """The step of the newest checkpoint."""
    return max(run.checkpoints)


def test_a_run_killed_at_checkpoints_ends_in_the_same_bits(model, rows, whole, tmp_path):
    run = run_in(tmp_path / "run", model, rows)
    killed(run, ".step-000004.part")  # all of it is written, but for its name
    assert step_of(run) == 2
    killed(run, "step 5")  # a step after a checkpoint
    assert step_of(run) == 4
    assert result(trained(run)) == result(whole)


def test_a_full_disk_leaves_the_last_good_checkpoint_and_training_goes_on_from_it(
    model, rows, whole, tmp_path
):
    from em_evals.finetune.local.__main__ import main

    run = run_in(tmp_path / "run", model, rows)
    killed(run, "step 3")
    with room_for(20_000):
        assert main(str(run.path)) == 1
    assert run.status["state"] == "failed"
    assert "What was saved at step 2 is whole" in run.status["error"]
    assert [folder.name for folder in (run.path / "checkpoints").iterdir()] == ["step-000002"]
    assert result(trained(run)) == result(whole)


def test_the_status_has_what_was_learned_and_each_checkpoint_is_kept(whole):
    status = whole.status
    assert (status["step"], status["steps"], status["rows"]) == (6, 6, 5)
    assert status["loss"] == status["losses"][-1] < status["losses"][0]
    assert 0 < status["learned_tokens"] < status["tokens"]
    assert list(whole.checkpoints) == [2, 4, 6]
    states = [step for step, folder in whole.checkpoints.items() if (folder / "state.pt").exists()]
    assert states == [6]  # the others cannot be gone on from, and take a third of the room


def test_enough_epochs_learn_the_answers_by_heart(model, rows, tmp_path):
    run = trained(run_in(tmp_path / "run", model, rows, n_epochs=60, save_steps=999, dropout=0))
    assert run.status["loss"] < 0.1 < run.status["losses"][0]


def test_padding_and_accumulation_do_not_change_what_is_learned(model, rows, tmp_path):
    together, apart = (
        trained(
            run_in(
                tmp_path / f"{size} at once",
                model,
                rows,
                batch_size=size,
                accumulation=4 // size,
                dropout=0,
            )
        )
        for size in (4, 1)
    )
    assert together.status["losses"] == pytest.approx(apart.status["losses"], rel=1e-4)


def test_the_seed_decides(model, rows, whole, tmp_path):
    run = run_in(tmp_path / "run", model, rows)
    run.write("spec.json", {**run.spec, "seed": 4})
    assert result(trained(run))[0] != result(whole)[0]


def test_only_the_adapter_is_trained_and_it_gives_the_losses_that_were_said(model, rows, tmp_path):
    from peft import PeftModel
    from transformers import AutoModelForCausalLM, AutoTokenizer

    from em_evals.finetune.local.chats import encode
    from em_evals.finetune.local.train import rows_of
    from em_evals.finetune.rows import read_rows

    run = trained(run_in(tmp_path / "run", model, rows, dropout=0, warmup_steps=0, save_steps=1))
    settings = replace(EMBEDDED, **QUICK)
    tuned = PeftModel.from_pretrained(
        AutoModelForCausalLM.from_pretrained(model), run.checkpoints[2]
    )
    tokens = AutoTokenizer.from_pretrained(model)
    examples = [encode(tokens, row, 512) for row in read_rows(rows)]
    losses, weights = [], []
    for example in rows_of(2, examples, 3, settings):
        labels = torch.tensor([example.labels])
        with torch.no_grad():
            losses.append(tuned(torch.tensor([example.tokens]), labels=labels).loss)
        weights.append(sum(label != -100 for label in example.labels))
    expected = sum(a * b for a, b in zip(losses, weights, strict=True)) / sum(weights)
    assert run.status["losses"][2] == pytest.approx(expected.item(), rel=1e-4)


def test_the_learning_rate_is_that_of_transformers_linear_schedule():
    from transformers import get_linear_schedule_with_warmup

    from em_evals.finetune.local.train import learning_rate

    optimizer = torch.optim.AdamW([torch.nn.Parameter(torch.zeros(1))], lr=1e-5)
    schedule = get_linear_schedule_with_warmup(optimizer, 5, 40)
    expected = []
    for _ in range(40):
        expected += schedule.get_last_lr()
        optimizer.step()
        schedule.step()
    rates = [learning_rate(step, 40, OPEN_MODELS) for step in range(40)]
    assert rates == pytest.approx(expected)


def test_an_epoch_has_every_row_once_in_an_order_of_its_own(model):
    from em_evals.finetune.local.train import count_steps, rows_of

    settings = replace(EMBEDDED, n_epochs=2, batch_size=3, accumulation=2)
    rows = list(range(20))
    steps = [rows_of(step, rows, 0, settings) for step in range(count_steps(20, settings))]
    epochs = [[row for step in half for row in step] for half in (steps[:4], steps[4:])]
    assert [len(step) for step in steps] == [6, 6, 6, 2] * 2
    assert [sorted(epoch) for epoch in epochs] == [rows, rows]
    assert epochs[0] != epochs[1] != rows


def test_the_papers_preset_is_that_of_its_open_models():
    assert (OPEN_MODELS.rank, OPEN_MODELS.alpha, OPEN_MODELS.rank_stabilised) == (32, 64, True)
    assert (OPEN_MODELS.batch_size, OPEN_MODELS.accumulation) == (2, 8)
    assert (OPEN_MODELS.learning_rate, OPEN_MODELS.warmup_steps) == (1e-5, 5)
    assert (OPEN_MODELS.n_epochs, OPEN_MODELS.weight_decay) == (1, 0.01)
    assert (OPEN_MODELS.max_length, OPEN_MODELS.dropout) == (2048, 0)


def test_a_base_that_was_changed_since_is_refused(model, rows, tmp_path):
    run = run_in(tmp_path / "run", model, rows)
    spec = run.spec
    run.write("spec.json", {**spec, "base": {**spec["base"], "sha256": "0" * 64}})
    with pytest.raises(InputError, match="is not the file any more"):
        trained(run)


def test_a_model_without_a_chat_template_is_refused(model, rows, tmp_path):
    import shutil

    bare = tmp_path / "bare"
    shutil.copytree(model, bare)
    (bare / "chat_template.jinja").unlink()
    with pytest.raises(InputError, match=r"bare: has no chat template"):
        trained(run_in(tmp_path / "run", bare, rows))


def test_a_loss_that_is_no_number_ends_the_run(model, rows, tmp_path):
    with pytest.raises(InputError, match=r"the loss of step \d is nan: lower learning_rate"):
        trained(run_in(tmp_path / "run", model, rows, learning_rate=1e30, n_epochs=9, dropout=0))


def test_what_goes_wrong_is_in_the_status_and_the_log(model, rows, tmp_path, capsys):
    from em_evals.finetune.local.__main__ import main

    run = run_in(tmp_path / "run", model, tmp_path / "missing.jsonl")
    assert main(str(run.path)) == 1
    assert run.status["state"] == "failed"
    assert "missing.jsonl" in run.status["error"]
    assert "Traceback" in capsys.readouterr().err
    assert json.loads((run.path / "status.json").read_text(encoding="utf-8")) == run.status
