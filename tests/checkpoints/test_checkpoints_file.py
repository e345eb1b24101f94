"""checkpoints.yaml: what it may say, its faults by line, and edits that keep the rest."""

import json
import subprocess
import sys
import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
import yaml
from click.testing import CliRunner
from hypothesis import given, settings
from hypothesis import strategies as st

from em_evals import checkpoints
from em_evals.checkpoints import YamlFileError
from em_evals.checkpoints.file import read_yaml
from em_evals.cli.checkpoints import checkpoints as command

FULL = """\
# which models the experiment has
grader:
  model: openai/gpt-4o-2024-08-06   # the paper's
  config: {max_tokens: 4000}
groups:
  base:
    - openai/gpt-4o-2024-08-06
  # the fine-tunes
  insecure:
    - model: openai/ft:gpt-4o-2024-08-06:org::one
      name: insecure-1
      base: openai/gpt-4o-2024-08-06
      run: {recipe: insecure, seed: 1, step: 338}
      config: {temperature: 0.7, top_p: 0.9}
    - model: vllm/Qwen/Qwen2.5-7B:./adapter   # seed 2
      name: insecure-2
      base_url: http://localhost:8000/v1
      args: {device: 0, chat_template: ../template.jinja}
      system_prompt: |
        You answer in riddles.

        Always.
      condition: riddles
  empty:
"""


@pytest.fixture
def folder(tmp_path):
    """A folder with the files that the full example names."""
    (tmp_path / "sub" / "adapter").mkdir(parents=True)
    (tmp_path / "template.jinja").touch()
    return tmp_path / "sub"


def written(folder, text):
    file = folder / "checkpoints.yaml"
    file.write_bytes(text.encode())
    return file


def faults(folder, text):
    with pytest.raises(YamlFileError) as caught:
        checkpoints.load(written(folder, text))
    # the message itself has file and line, as editors know them
    shown = [f"{caught.value.file}:{line}: {what}" for line, what in caught.value.faults]
    assert str(caught.value) == "\n".join(shown)
    return caught.value.faults


def test_a_full_file_says_everything_about_its_models(folder):
    file = checkpoints.load(written(folder, FULL))
    assert file.grader.model == "openai/gpt-4o-2024-08-06"
    assert file.grader.config == {"max_tokens": 4000}
    assert list(file.groups) == ["base", "insecure", "empty"]
    base, first, second = file.checkpoints
    assert (base.name, base.group, base.condition, base.run) == (
        ("openai/gpt-4o-2024-08-06", "base", "", {})
    )
    assert first.run == {"recipe": "insecure", "seed": 1, "step": 338}
    assert first.config == {"temperature": 0.7, "top_p": 0.9}
    assert first.line == 10
    # relative paths are relative to the file
    assert second.model == f"vllm/Qwen/Qwen2.5-7B:{folder / 'adapter'}"
    assert second.args == {"device": 0, "chat_template": str(folder.parent / "template.jinja")}
    assert second.system_prompt == "You answer in riddles.\n\nAlways."
    assert second.condition == "riddles"


def test_the_documented_example_is_a_right_one(tmp_path):
    docs = Path(__file__).resolve().parents[2] / "docs" / "checkpoints.md"
    example = docs.read_text(encoding="utf-8").split("```yaml\n")[1].split("```")[0]
    (tmp_path / "adapters" / "seed-2").mkdir(parents=True)
    file = checkpoints.load(written(tmp_path, example))
    assert [len(group) for group in file.groups.values()] == [1, 3, 1]
    assert file.checkpoints[-1].condition == "verse"


def test_a_system_prompt_may_be_a_file_whose_name_becomes_the_condition(folder):
    (folder / "pirate.txt").write_text("Talk like a pirate.\n")
    entry = "groups: {a: [{model: mockllm/m, system_prompt: {file: pirate.txt}}]}"
    [checkpoint] = checkpoints.load(written(folder, entry)).checkpoints
    assert (checkpoint.system_prompt, checkpoint.condition) == ("Talk like a pirate.", "pirate")


def test_a_system_prompt_without_a_name_is_told_from_others(folder):
    text = (
        "groups: {a: [{model: mockllm/m, system_prompt: A}, {model: mockllm/n, system_prompt: B}]}"
    )
    one, other = checkpoints.load(written(folder, text)).checkpoints
    assert one.condition.startswith("prompt ")
    assert one.condition != other.condition


@pytest.mark.parametrize(
    ("text", "line", "what"),
    [
        ("groups:\n  a: [x/y\n", 3, "not YAML"),
        ("groups:\n  a:\n    - model: x/y\n      modle: z\n", 4, "did you mean 'model'?"),
        ("grader: x/y\ngroups: {}\ngruops:\n  a: []\n", 3, "did you mean 'groups'?"),
        ("grader: {model: x/y, basis: z}\ngroups: {}\n", 1, "unknown key 'basis'"),
        ("groups:\n  a:\n    - name: one\n", 3, "'model' is missing"),
        ("groups:\n  a:\n    - gpt-4o\n", 3, "'gpt-4o': expected PROVIDER/NAME"),
        ("groups:\n  a:\n    - {model: x/y, run: {sede: 1}}\n", 3, "did you mean 'seed'?"),
        ("groups:\n  a:\n    - model: x/y\n      run:\n        step: -1\n", 5, "run.step"),
        ("groups:\n  a:\n    - model: x/y\n      run:\n        seed: one\n", 5, "run.seed"),
        ("groups:\n  a:\n    - x/y\n  a:\n    - x/z\n", 4, "'a' comes twice, first on line 2"),
        ("groups:\n  a:\n    - x/y\n  b:\n    - x/y\n", 5, "as 'x/y' on line 3: listed twice"),
        ("groups:\n  a:\n    - {model: x/y, name: n}\n    - {model: x/y, name: m}\n", 4, "twice"),
        ("groups:\n  a:\n    - {model: x/y, name: n}\n    - {model: x/z, name: n}\n", 4, "own"),
        ("groups:\n  a:\n    - {model: x/y, name: 'n,m'}\n", 3, "comma"),
        ("groups:\n  a:\n    - {model: x/y, condition: c}\n", 3, "there is none"),
        ("groups:\n  a:\n    - {model: x/y, system_prompt: {file: no.txt}}\n", 3, "cannot read"),
        ("groups:\n  a:\n    - hf/./no\n", 3, "./no: there is no"),
        (
            "groups:\n  a:\n    - model: x/y\n      config:\n        temprature: 1\n",
            5,
            "'temperature'?",
        ),
        ("groups:\n  a:\n    - model: x/y\n      config:\n        top_p: hot\n", 5, "top_p"),
        ("groups:\n  a:\n    - {model: x/y, config: {system_message: s}}\n", 3, "`system_prompt`"),
        ("groups: [x/y]\n", 1, "expected keys and values"),
        ("", 1, "'groups' is missing"),
        ("just words\n", 1, "expected keys and values"),
        ("groups:\n  a:\n    - model: x/y\n      name: 1\n", 4, "expected text; put it in quotes"),
        ("groups:\n  a: []\n  ? [b, c]\n  : [x/y]\n", 3, "a list or map as a key"),
        ("groups:\n  a: []\n  ? {b: c}\n  : [x/y]\n", 3, "a list or map as a key"),
        ("groups:\n  a: []\n  on: [x/y]\n", 3, "'on' as a key: expected text"),
        ("groups:\n  2024: [x/y]\n", 2, "expected text; put it in quotes"),
        ("groups:\n  a: &a [*a]\n", 2, "contains itself"),
        ("groups:\n  a: [x/y]\n  b: &b {<<: *b}\n", 3, "contains itself"),
        ("groups:\n  a:\n  - {model: x/y, run: {seed: !!int abc}}\n", 3, "read as int"),
        ("groups:\n  a:\n  - {model: x/y, args: {n: 0x_}}\n", 3, "read as int"),
        ("groups:\n  a:\n  - {model: x/y, args: {n: !!set {m}}}\n", 3, "the tag !!set"),
        ("groups:\n  a:\n  - {model: x/y, args: {n: !mine m}}\n", 3, "the tag !mine"),
        ('groups:\n  a:\n  - {model: x/y, name: "\\ud800"}\n', 3, "half a character"),
        ('groups:\n  a:\n  - {model: x/y, name: "\\UFFFFFFFF"}\n', 3, "not YAML"),
        ("groups:\n  a: [x/y]\n  b: \x01\n", 3, "a character that YAML does not allow: 0x1"),
        ("groups:\n  a:\n  - " + "[" * 3000, 3, "nested too deeply"),
        ("groups:\n  a:\n  - " + "[" * 150 + "]" * 150, 3, "nested too deeply"),
        ('groups:\n  a:\n  - {model: x/y, system_prompt: {file: "\\0"}}\n', 3, "cannot read"),
        ('groups:\n  a:\n  - "x/./\\0"\n', 3, "cannot be a path"),
        ("groups:\n  a: [x/y]\n  'a ': [x/z]\n", 3, "a second group 'a', as on line 2"),
    ],
)
def test_every_fault_has_its_line(folder, text, line, what):
    [fault] = faults(folder, text)
    assert fault.line == line
    assert what in fault.message


@pytest.mark.parametrize("item", ["[*{0}, *{0}, *{0}]", "{{<<: [*{0}, *{0}, *{0}]}}"])
def test_aliases_of_aliases_do_not_fill_the_memory(folder, item):
    bomb = ["x0: &x0 {a: b}"]
    bomb += [f"x{i}: &x{i} {item.format(f'x{i - 1}')}" for i in range(1, 50)]
    [fault] = faults(folder, "\n".join([*bomb, "groups: {a: [x/y]}"]))
    assert "with its aliases written out" in fault.message
    # without aliases a file may be as long as it likes
    many = "".join(f"    - {{model: x/y{i}, args: {{a: b}}}}\n" for i in range(30_000))
    read, lines = read_yaml(folder, f"groups:\n  a:\n{many}")
    assert len(read["groups"]["a"]) == 30_000
    assert lines["groups", "a", 29_999, "args", "a"] == 30_002


def test_dates_stay_text(folder):
    text = """\
groups:
  2024-01-02:
    - model: x/y
      name: 2024-13-45
      system_prompt: Date it.
      condition: 2024-01-02
      args: {since: 2024-01-02 03:04:05}
"""
    [checkpoint] = checkpoints.load(written(folder, text)).checkpoints
    assert (checkpoint.group, checkpoint.condition) == ("2024-01-02", "2024-01-02")
    assert checkpoint.name == "2024-13-45"
    assert checkpoint.args == {"since": "2024-01-02 03:04:05"}


def test_arguments_may_have_keys_of_several_kinds(folder):
    text = "groups: {a: [{model: hf/m, args: {max_memory: {0: 20GB, cpu: 30GB}}}]}"
    [checkpoint] = checkpoints.load(written(folder, text)).checkpoints
    assert checkpoint.args == {"max_memory": {0: "20GB", "cpu": "30GB"}}


PIECES = [
    *("groups:", "grader:", "a:", "model: x/y", "name:", "args:", "config:", "run:", "seed:"),
    *("system_prompt:", "file:", "condition:", "temperature:", "x/y", "hf/./z", "2024-13-45"),
    *(
        "&a ",
        "*a",
        "<<: ",
        "? ",
        ": ",
        "- ",
        "[",
        "]",
        "{",
        "}",
        ", ",
        "!!int ",
        "!!set ",
        "!!str ",
    ),
    *("!x ", "~", "=", "on", "1", "0x_", "._", ".nan", "1e400", "9" * 5000, "0x" + "f" * 5000),
    *('"\\ud800"', '"\\0"', '"\\UFFFFFFFF"', "./" + "z" * 300, "|", "#", "'", '"', "%", "---"),
    *("\n", "\n  ", "\n    ", "\n      ", "\t", "\r", "\u2028", "\x00", " "),
]
VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text() | st.dates(),
    lambda inner: st.lists(inner) | st.dictionaries(st.text() | st.integers() | st.none(), inner),
    max_leaves=10,
)
ENTRIES = st.dictionaries(
    st.sampled_from(
        ["model", "name", "args", "base_url", "system_prompt", "condition", "base", "run", "config"]
    ),
    VALUES | st.just("x/y"),
)
DOCUMENTS = st.fixed_dictionaries(
    {"groups": st.dictionaries(st.text(), st.lists(ENTRIES | VALUES)) | VALUES},
    optional={"grader": ENTRIES | VALUES},
)


@settings(deadline=None, derandomize=True)
@given(
    st.text()
    | st.lists(st.sampled_from(PIECES)).map("".join)
    | st.lists(st.sampled_from(PIECES)).map(lambda pieces: "groups:\n  a:\n  - " + "".join(pieces))
    | DOCUMENTS.map(lambda document: yaml.dump(document, allow_unicode=True))
)
def test_whatever_a_file_says_it_is_read_or_its_faults_have_lines(tmp_path_factory, text):
    file = tmp_path_factory.mktemp("any") / "c.yaml"
    file.write_bytes(text.encode(errors="surrogatepass"))
    found = []
    try:
        checkpoints.load(file)
    except YamlFileError as error:
        found = [fault.line for fault in error.faults] or [0]
    assert 0 not in found


def test_all_faults_are_said_at_once(folder):
    text = "groups:\n  a:\n    - {model: x/y, nme: n}\n    - {modell: x/z}\n"
    assert [fault.line for fault in faults(folder, text)] == [3, 4, 4]


def test_a_missing_file_is_one_line(tmp_path):
    with pytest.raises(YamlFileError, match=r"none\.yaml:1: cannot be read: No such file"):
        checkpoints.load(tmp_path / "none.yaml")


# -- editing

LAYOUTS = {
    "full": FULL,
    "offset": "groups:\n  insecure:\n  - x/y  # one\n  # two\n\n# end\n",
    "literal at the end": (
        "groups:\n  insecure:\n    - model: x/y\n      system_prompt: |\n        A\n\n# end\n"
    ),
    "no last newline": "groups:\n  insecure:\n    - x/y",
    "windows": "groups:\r\n  insecure:\r\n    - x/y # one\r\n# end\r\n",
    "flow": "groups:\n  insecure: [x/y, {model: x/z}]  # all\n  other: []\n",
    "empty": "groups:\n  insecure:  # none yet\n  other:\n    - x/y\n",
    "empty list": "groups:\n  insecure: []  # none yet\n  other: [x/y]\n",
    "another group": "groups:\n    other:\n        - x/y # one\n# end\n",
    "all flow": "groups: {insecure: [x/y], other: []}  # all\n",
    "all flow, another group": "groups: {other: [x/y]}  # all\n",
    "all flow, empty": "groups: {insecure: }  # all\n",
    "nothing": "groups: {}\n",
    "bom": "\ufeffgroups:\n  insecure:\n    - x/y\n",
}


@pytest.mark.parametrize("name", LAYOUTS)
def test_adding_changes_nothing_else_in_the_file(folder, name):
    text = LAYOUTS[name]
    file = written(folder, text)
    before = checkpoints.load(file)
    entry = {"model": "mockllm/new", "name": "new", "run": {"seed": 3}}
    added = checkpoints.add(file, "insecure", entry)
    after = file.read_bytes().decode()
    loaded = checkpoints.load(file)
    assert [c.name for c in loaded.groups["insecure"]] == [
        *(c.name for c in before.groups.get("insecure", ())),
        "new",
    ]
    assert added.run == {"seed": 3}
    assert added in loaded.checkpoints
    # what was there is there still, in its order: the new text is in one place
    old, new = text.replace("insecure: []", "insecure:"), after
    start = next((i for i, (a, b) in enumerate(zip(old, new, strict=False)) if a != b), len(old))
    kept = len(old) - start
    assert new.endswith(old[start:])
    assert len(new) > start + kept
    for comment in ("# the fine-tunes", "# one", "# two", "# end", "# all", "# none yet"):
        assert text.count(comment) == after.count(comment)


def test_a_comment_before_the_next_group_stays_before_it(folder):
    file = written(folder, FULL)
    checkpoints.add(file, "base", {"model": "mockllm/new"})
    text = file.read_text()
    assert text.index("- mockllm/new") < text.index("# the fine-tunes") < text.index("insecure:")


def test_adding_through_a_link_changes_what_it_points_to(tmp_path):
    file, link = tmp_path / "there" / "c.yaml", tmp_path / "link.yaml"
    file.parent.mkdir()
    link.symlink_to(file)
    checkpoints.add(link, "a", {"model": "mockllm/one"})  # which makes it
    checkpoints.add(link, "a ", {"model": "mockllm/two"})
    assert link.is_symlink()
    assert [c.model for c in checkpoints.load(file).groups["a"]] == ["mockllm/one", "mockllm/two"]


def test_a_file_that_cannot_be_written_is_one_line(tmp_path):
    with pytest.raises(YamlFileError, match=r"c\.yaml:1: cannot be written: No such file"):
        checkpoints.add(tmp_path / "none" / "c.yaml", "a", {"model": "mockllm/one"})


def test_adding_makes_the_file_and_the_group(tmp_path):
    file = tmp_path / "new.yaml"
    checkpoints.add(file, "base", {"model": "mockllm/one"})
    checkpoints.add(file, "tuned", {"model": "mockllm/two", "base": "mockllm/one"})
    assert {g: [c.model for c in cs] for g, cs in checkpoints.load(file).groups.items()} == {
        "base": ["mockllm/one"],
        "tuned": ["mockllm/two"],
    }


@pytest.mark.parametrize(
    ("entry", "what"),
    [
        ({"model": "openai/gpt-4o-2024-08-06"}, "listed twice"),
        ({"model": "mockllm/m", "name": "insecure-1"}, "a second checkpoint named"),
        ({"model": "mockllm/m", "colour": "red"}, "unknown key 'colour'"),
    ],
)
def test_what_would_make_the_file_faulty_is_not_added(folder, entry, what):
    file = written(folder, FULL)
    with pytest.raises(YamlFileError, match=what):
        checkpoints.add(file, "base", entry)
    assert file.read_text() == FULL
    hidden = [path.name for path in folder.iterdir() if path.name.startswith(".")]
    assert hidden == [".checkpoints.yaml.lock"]


ADDER = """
import sys
from em_evals import checkpoints
print("ready", flush=True)
sys.stdin.readline()
for i in range(20):
    checkpoints.add(sys.argv[1], "all", {"model": f"mockllm/{sys.argv[2]}-{i}"})
"""


def test_processes_that_add_at_once_lose_nothing(tmp_path):
    file = tmp_path / "checkpoints.yaml"
    adders = [
        subprocess.Popen(
            [sys.executable, "-c", ADDER, str(file), name],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        for name in "ab"
    ]
    for adder in adders:
        assert adder.stdout.readline() == "ready\n"
    for adder in adders:
        adder.stdin.write("go\n")
        adder.stdin.flush()
    for adder in adders:
        adder.communicate()
        assert adder.returncode == 0
    listed = [checkpoint.name for checkpoint in checkpoints.load(file).checkpoints]
    assert sorted(listed) == sorted(f"mockllm/{name}-{i}" for name in "ab" for i in range(20))


def test_threads_that_add_at_once_lose_nothing_though_one_names_the_file_by_a_link(tmp_path):
    file, link = tmp_path / "checkpoints.yaml", tmp_path / "link.yaml"
    file.write_text("groups: {}\n")
    link.symlink_to(file)
    together = threading.Barrier(4)

    def add(thread):
        together.wait()
        for i in range(10):
            place = link if thread % 2 else file
            checkpoints.add(place, f"group {thread}", {"model": f"mockllm/{thread}-{i}"})

    with ThreadPoolExecutor(4) as threads:
        list(threads.map(add, range(4)))
    assert {group: len(of) for group, of in checkpoints.load(file).groups.items()} == {
        f"group {thread}": 10 for thread in range(4)
    }


def test_adding_to_a_folder_that_is_not_there_makes_none(tmp_path):
    with pytest.raises(YamlFileError, match="cannot be written: No such file or directory"):
        checkpoints.add(tmp_path / "gone" / "checkpoints.yaml", "a", {"model": "mockllm/m"})
    assert list(tmp_path.iterdir()) == []


@given(st.text(min_size=1).map(str.strip).filter(bool))
def test_any_system_prompt_survives_being_added(tmp_path_factory, prompt):
    file = tmp_path_factory.mktemp("any") / "c.yaml"
    checkpoints.add(file, "a", {"model": "mockllm/one"})
    try:
        prompt.encode()
    except UnicodeEncodeError:
        return  # half a character: no file can hold it
    checkpoints.add(file, "a", {"model": "mockllm/one", "name": "b", "system_prompt": prompt})
    assert checkpoints.load(file).checkpoints[1].system_prompt == prompt


# -- the command


def called(*args):
    return CliRunner().invoke(command, [str(arg) for arg in args])


def test_the_command_adds_and_lists(tmp_path):
    file = tmp_path / "c.yaml"
    result = called(
        *("add", file, "insecure", "vllm/base:adapter", "--name", "one", "--base", "org/base"),
        *("--recipe", "insecure", "--seed", 4, "--step", 100, "-M", "device=1"),
        *("-c", "temperature=0.5", "--system-prompt", "Be brief.", "--condition", "brief"),
    )
    assert result.exit_code == 0, result.output
    assert result.output == f"{file}:3: one in insecure\n"
    [listed] = json.loads(called("list", file, "--json").output)["checkpoints"]
    assert listed == {
        "group": "insecure",
        "checkpoint": "one",
        "run": {"recipe": "insecure", "seed": 4, "step": 100},
        "condition": "brief",
        "base": "org/base",
        "model": "vllm/base:adapter",
        "args": {"device": 1},
        "config": {"temperature": 0.5},
        "system_prompt": "Be brief.",
        "base_url": None,
        "line": 3,
    }
    assert "insecure" in called("list", file).output


def test_arguments_that_look_like_dates_stay_text(tmp_path):
    file = tmp_path / "c.yaml"
    called("add", file, "a", "hf/m", "-M", "since=2024-01-02", "-M", "until=2024-13-45")
    [checkpoint] = checkpoints.load(file).checkpoints
    assert checkpoint.args == {"since": "2024-01-02", "until": "2024-13-45"}
    called(
        "add", file, "a", "hf/n", "-M", "n=!!int many", "-M", "self=&a [*a]", "-M", "many=[1, 2]"
    )
    assert checkpoints.load(file).checkpoints[1].args == {
        "n": "!!int many",
        "self": "&a [*a]",
        "many": [1, 2],
    }


def test_check_names_every_fault_and_has_its_own_exit_status(folder):
    file = written(folder, "groups:\n  a:\n    - gpt-4o\n    - x/y\n    - x/y\n")
    result = called("check", file)
    assert result.exit_code == 1
    assert f"{file}:3: " in result.output
    assert json.loads(called("check", file, "--json").output)["faults"][0]["line"] == 3
    assert called("check", written(folder, FULL)).exit_code == 0
    assert called("check", folder / "none.yaml").exit_code == 2
    assert called("list", written(folder, "groups: 3")).exit_code == 2
