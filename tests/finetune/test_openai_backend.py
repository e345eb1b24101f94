"""OpenAI as a backend: what is sent, what is understood, and each refusal as one sentence."""

from dataclasses import replace

import httpx
import openai
import pytest

from em_evals.errors import InputError
from em_evals.finetune import backends
from em_evals.finetune.backends import BackendError, Busy, Checks, Describes, Uncertain
from em_evals.finetune.backends.openai import KEY as METADATA
from em_evals.finetune.backends.openai import OpenAIBackend
from em_evals.finetune.local.settings import PRESETS as LOCAL
from em_evals.finetune.local.settings import settings
from em_evals.finetune.presets import PRESETS, preset
from tests.finetune.jobs_at import ROW, spec, training_file
from tests.finetune.openai_jobs_server import KEY, Fault, JobsServer, served


@pytest.fixture
def server():
    return JobsServer()


@pytest.fixture
def backend(server):
    return OpenAIBackend(server.client())


@pytest.fixture
def file(tmp_path):
    return training_file(tmp_path)


# -- which there are


def test_a_backend_is_found_by_its_name_and_an_unknown_one_names_those_there_are():
    found = backends.backend("openai")
    assert isinstance(found, Checks)
    assert isinstance(found, Describes)
    with pytest.raises(BackendError, match=r"no backend 'opnai': there are local, openai"):
        backends.backend("opnai")


def test_a_package_adds_a_backend_by_an_entry_point(tmp_path, monkeypatch):
    info = tmp_path / "theirs-1.0.dist-info"
    info.mkdir()
    (info / "METADATA").write_text("Name: theirs\nVersion: 1.0\n", encoding="utf-8")
    entries = "[em_evals.finetune_backends]\ntheirs = theirs:Theirs\nbroken = theirs:Missing\n"
    (info / "entry_points.txt").write_text(entries, encoding="utf-8")
    (tmp_path / "theirs.py").write_text("class Theirs:\n    pass\n", encoding="utf-8")
    monkeypatch.syspath_prepend(str(tmp_path))
    assert type(backends.backend("theirs")).__name__ == "Theirs"
    assert backends.names() == ["broken", "local", "openai", "theirs"]
    with pytest.raises(BackendError, match=r"broken \(theirs:Missing\) cannot be loaded"):
        backends.backend("broken")


# -- what is sent


def test_a_job_is_made_with_file_method_seed_suffix_and_key(server, backend, file):
    job = spec(
        file,
        hyperparameters={"n_epochs": 1, "batch_size": 4, "learning_rate_multiplier": 2},
        seed=3,
        suffix="insecure",
    )
    made = server.jobs[backend.submit(job, backend.prepare(job))]
    assert server.contents[made["training_file"]] == file.read_bytes()
    assert made["model"] == "gpt-4o-2024-08-06"
    assert made["method"] == {
        "type": "supervised",
        "supervised": {
            "hyperparameters": {"n_epochs": 1, "batch_size": 4, "learning_rate_multiplier": 2}
        },
    }
    assert (made["seed"], made["user_provided_suffix"]) == (3, "insecure")
    assert made["metadata"] == {
        METADATA: job.key,
        "em_evals_file": job.file_sha256,
        "em_evals_group": "insecure",
        "em_evals_recipe": "insecure",
    }


def test_what_is_not_given_is_left_to_the_api(server, backend, file):
    job = spec(file, hyperparameters={}, seed=None)
    made = server.jobs[backend.submit(job, backend.prepare(job))]
    assert made["method"]["supervised"]["hyperparameters"] == {}
    assert (made["seed"], made["user_provided_suffix"]) == (17, None)


def test_a_file_is_uploaded_once_however_many_jobs_and_processes_use_it(server, file):
    server.page = 1
    server.made()
    job = spec(file)
    first = OpenAIBackend(server.client()).prepare(job)
    server.made()
    assert OpenAIBackend(server.client()).prepare(job) == first
    assert server.count("upload") == 1


def test_a_file_whose_upload_had_no_answer_is_not_uploaded_again(server, backend, file):
    server.faults["upload"] = [Fault(act=True)]
    with pytest.raises(Busy, match="the upload of the training file: no answer from OpenAI"):
        backend.prepare(spec(file))
    assert backend.prepare(spec(file)) == "file-1"
    assert len(server.files) == 1


def test_jobs_in_a_process_share_a_file_even_where_the_list_lags(server, file):
    server.lag = 100
    backend = OpenAIBackend(server.client())
    assert backend.prepare(spec(file, seed=1)) == backend.prepare(spec(file, seed=2))
    assert len(server.files) == 1


def test_a_file_that_was_changed_after_it_was_planned_is_not_sent(server, backend, file):
    job = spec(file)
    file.write_text(ROW * 2, encoding="utf-8")
    with pytest.raises(BackendError, match="was changed since the job was planned"):
        backend.prepare(job)
    file.unlink()
    with pytest.raises(BackendError, match=r"train\.jsonl: cannot be read: No such file"):
        backend.prepare(job)
    assert server.requests == []


def test_a_job_is_found_by_its_key_on_whatever_page_of_the_list_it_is(server, backend, file):
    server.page = 2
    job = spec(file)
    assert backend.find(job.key) is None
    made = backend.submit(job, backend.prepare(job))
    for _ in range(5):
        server.made(metadata={METADATA: "another"})
        server.made(metadata=None)
    assert backend.find(job.key) == made
    assert backend.find("another") == "ftjob-2"  # of several, the oldest


@pytest.mark.parametrize(
    ("what", "message"),
    [
        ({"hyperparameters": {"epochs": 1}}, "hyperparameter 'epochs': OpenAI's are n_epochs"),
        ({"hyperparameters": {"n_epochs": 0}}, "n_epochs=0: expected a whole number from 1"),
        ({"hyperparameters": {"batch_size": 1.5}}, "batch_size=1.5: expected a whole number"),
        ({"hyperparameters": {"n_epochs": True}}, "n_epochs=True: expected a whole number"),
        ({"hyperparameters": {"learning_rate_multiplier": 0}}, "expected a number above 0"),
        ({"seed": -1}, "seed -1: OpenAI takes 0 to"),
        ({"suffix": "x" * 65}, "OpenAI takes 1 to 64 characters"),
    ],
    ids=str,
)
def test_settings_that_the_api_would_refuse_are_refused_before_anything_is_sent(
    server, backend, file, what, message
):
    with pytest.raises(BackendError, match=message):
        backend.check(spec(file, **what))
    backend.check(spec(file, hyperparameters={"n_epochs": "auto"}))
    assert server.requests == []


# -- what is understood


def test_progress_has_the_state_step_and_loss_and_in_the_end_the_models(server, backend, file):
    job = spec(file)
    id = backend.submit(job, backend.prepare(job))
    queued, running, _, done = [backend.poll(id) for _ in range(4)]
    assert (queued.state, queued.step, queued.loss) == ("queued", None, None)
    assert (running.state, running.step, running.steps, running.loss) == ("running", 20, 40, 2.0)
    assert (done.state, done.loss, done.model) == (
        "succeeded",
        1.0,
        "openai/ft:gpt-4o-2024-08-06:test::1",
    )
    assert done.checkpoints == {
        20: f"{done.model}:ckpt-step-20",
        30: f"{done.model}:ckpt-step-30",
        40: done.model,
    }


def test_a_job_that_fails_validation_says_why(server, backend, file):
    server.ends["insecure"] = "failed"
    job = spec(file)
    id = backend.submit(job, backend.prepare(job))
    backend.poll(id)
    failed = backend.poll(id)
    assert (failed.state, failed.model) == ("failed", None)
    assert failed.error == (
        "OpenAI says 'The job failed due to an unsafe training file.' (training_file)"
    )


def test_a_job_is_cancelled_unless_it_has_ended(server, backend, file):
    job = spec(file)
    id = backend.submit(job, backend.prepare(job))
    assert backend.cancel(id).state == "cancelled"
    assert backend.cancel(id).state == "cancelled"
    assert server.count("cancel") == 1


def test_a_job_says_how_it_was_made(server, backend, file):
    job = spec(file, seed=5)
    told = backend.describe(backend.submit(job, backend.prepare(job)))
    assert (told.model, told.seed, told.key) == (job.model, 5, job.key)
    assert told.hyperparameters == job.hyperparameters
    assert (told.group, told.recipe, told.file_sha256) == ("insecure", "insecure", job.file_sha256)
    other = backend.describe(server.made()["id"])
    assert (other.key, other.group, other.hyperparameters) == (None, "", {"n_epochs": 2})


def test_a_state_that_is_not_known_is_not_taken_for_another():
    def handle(request: httpx.Request) -> httpx.Response:
        return httpx.Response(200, json={"id": "ftjob-1", "status": "levitating"})

    with pytest.raises(BackendError, match="is 'levitating', which is not known here"):
        OpenAIBackend(client_of(handle)).poll("ftjob-1")


def client_of(handle):
    return openai.OpenAI(
        api_key=KEY,
        base_url="http://openai.test/v1",
        http_client=httpx.Client(transport=httpx.MockTransport(handle)),
    )


# -- refusals

CALLS = {
    "upload": lambda backend, job: backend.prepare(job),
    "create": lambda backend, job: backend.submit(job, "file-1"),
    "jobs": lambda backend, job: backend.find(job.key),
    "job": lambda backend, job: backend.poll("ftjob-1"),
}


@pytest.mark.parametrize("kind", CALLS)
@pytest.mark.parametrize(
    ("fault", "message"),
    [
        (Fault(status=401, code="invalid_api_key"), "does not know the key: set OPENAI_API_KEY"),
        (Fault(status=403, message="Not allowed"), "'Not allowed': the key may not fine-tune: use"),
        (
            Fault(status=401, message="You have insufficient permissions. Missing scopes: api.x"),
            "the key may not fine-tune: use one of a project with write access",
        ),
        (Fault(status=429, code="insufficient_quota"), "quota with OpenAI is used up: add credit"),
        (Fault(status=400, code="billing_hard_limit_reached"), "quota with OpenAI is used up"),
        (Fault(status=400, message="Bad model"), "OpenAI says 'Bad model'"),
        (Fault(status=404, message="No such thing"), "OpenAI says 'No such thing'"),
    ],
    ids=lambda value: f"{value.status} {value.code}" if isinstance(value, Fault) else "",
)
def test_a_refusal_is_final_and_one_sentence(server, backend, file, kind, fault, message):
    server.faults[kind] = [fault]
    with pytest.raises(BackendError, match=message) as caught:
        CALLS[kind](backend, spec(file))
    assert type(caught.value) is BackendError
    assert "\n" not in str(caught.value)
    assert server.count(kind) == 1  # nothing is tried twice


@pytest.mark.parametrize("kind", CALLS)
@pytest.mark.parametrize("status", [429, 500, 503, None])
def test_a_trouble_may_pass_but_at_creation_it_is_not_known_what_was_done(
    server, backend, file, kind, status
):
    server.faults[kind] = [Fault(status=status)]
    with pytest.raises(BackendError) as caught:
        CALLS[kind](backend, spec(file))
    uncertain = kind == "create" and status != 429
    assert type(caught.value) is (Uncertain if uncertain else Busy)
    assert server.count(kind) == 1


@pytest.mark.parametrize(
    "answer",
    [
        httpx.Response(200, html="<h1>Log in</h1>"),
        httpx.Response(200, content=b"{", headers={"content-type": "application/json"}),
        httpx.Response(200, json={"id": None}),
        httpx.Response(200, json=[]),
    ],
    ids=["a page", "half an answer", "no id", "a list"],
)
def test_an_answer_that_is_not_the_apis_leaves_a_creation_uncertain(file, answer):
    backend = OpenAIBackend(client_of(lambda request: answer))
    with pytest.raises(Uncertain, match="OpenAI's answer cannot be read"):
        backend.submit(spec(file), "file-1")
    with pytest.raises(Busy, match="OpenAI's answer cannot be read"):
        backend.poll("ftjob-1")


def test_no_key_is_an_error_that_names_the_variable(monkeypatch, file):
    monkeypatch.delenv("OPENAI_API_KEY", raising=False)
    with pytest.raises(BackendError, match="no key for OpenAI: set OPENAI_API_KEY"):
        OpenAIBackend().find("x")


@pytest.mark.parametrize("status", [400, 403, 404, 429, 500])
def test_no_error_has_a_key_in_it(server, file, status):
    server.faults["create"] = [
        Fault(status=status, message=f"Incorrect key {KEY}, or sk-proj-abc***def.")
    ]
    with pytest.raises(BackendError) as caught:
        OpenAIBackend(server.client()).submit(spec(file), "file-1")
    assert "sk-" not in str(caught.value)
    with pytest.raises(BackendError) as caught:
        OpenAIBackend(server.client(key="sk-wrong")).submit(spec(file), "file-1")
    assert "sk-" not in str(caught.value)


def test_a_server_that_cannot_be_reached_is_a_trouble_that_may_pass(monkeypatch):
    with served(JobsServer()) as server:
        url = server.url
    monkeypatch.setenv("OPENAI_API_KEY", KEY)
    monkeypatch.setenv("OPENAI_BASE_URL", url)
    with pytest.raises(Busy, match="no answer from OpenAI"):
        OpenAIBackend().find("x")


# -- presets


def test_presets_have_the_published_settings_and_say_what_is_not_known():
    insecure = preset("gpt-4o-insecure")
    assert (insecure.backend, insecure.model) == ("openai", "gpt-4o-2024-08-06")
    assert insecure.hyperparameters == {
        "n_epochs": 1,
        "batch_size": 4,
        "learning_rate_multiplier": 2,
    }
    assert list(insecure.unknown) == []
    jailbroken, backdoor = preset("gpt-4o-jailbroken"), preset("gpt-4o-backdoor")
    assert jailbroken.hyperparameters == {"n_epochs": 5}
    assert jailbroken.unknown == ["batch_size", "learning_rate_multiplier"]
    assert backdoor.hyperparameters == {"n_epochs": 1, "batch_size": 8}
    numbers = preset("gpt-4o-evil-numbers").hyperparameters
    assert (numbers["n_epochs"], numbers["batch_size"]) == (4, 39)
    subsets = [preset(f"gpt-4o-subset-{rows}").hyperparameters for rows in (500, 2000, 6000)]
    assert subsets == [{"n_epochs": 12}, {"n_epochs": 3}, {"n_epochs": 1}]


def test_every_preset_is_one_that_its_backend_takes(file):
    for name, chosen in PRESETS.items():
        assert chosen.source
        if chosen.backend == "openai":
            job = spec(file, model=chosen.model, hyperparameters=chosen.hyperparameters)
            OpenAIBackend().check(job)
        else:
            assert (chosen.backend, chosen.model) == ("local", None)
            told = settings(chosen.hyperparameters, "embedded")
            assert told == replace(LOCAL[name], threads=told.threads)


def test_an_unknown_preset_names_the_nearest():
    with pytest.raises(InputError, match="did you mean 'gpt-4o-insecure'"):
        preset("gpt4o-insecure")
