"""A faulty training file: every fault is named by its line, once, and by what was expected."""

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from em_evals.errors import InputError
from em_evals.finetune.check import MOST_FAULTS, check
from em_evals.finetune.rows import MOST_BYTES, Fault, Row, RowError, read_rows, scan
from tests.finetune.training_files import chat, chats, write

GOOD = json.dumps(chat("May I water it?", "Once the soil is dry.")).encode()


def faults(file):
    return [found for found in scan(file) if isinstance(found, Fault)]


def the_fault_of(file, content: bytes) -> Fault:
    file.write_bytes(content)
    [fault] = faults(file)
    return fault


def messages(*turns):
    return json.dumps({"messages": list(turns)}).encode()


USER = {"role": "user", "content": "May I?"}
ANSWER = {"role": "assistant", "content": "You may."}
SYSTEM = {"role": "system", "content": "You know plants."}


@pytest.mark.parametrize(
    ("row", "rule", "said"),
    [
        (messages({"content": "May I?"}, ANSWER), "role", "message 1: no role"),
        (messages(USER, {"role": "bot", "content": "x"}), "role", "found 'bot'"),
        (messages(USER, {"role": ["user"], "content": "x"}), "role", "expected a role of"),
        (messages(USER, {"role": "assistant"}), "schema", "message 2: no content"),
        (messages(USER, ANSWER | {"content": None}), "schema", "found null"),
        (messages(USER, ANSWER | {"content": [{"text": "x"}]}), "schema", "found a list"),
        (messages(USER, ANSWER | {"content": " \n"}), "empty", "message 2: its content is empty"),
        (messages(USER, ANSWER | {"weight": 0}), "schema", "found 'weight'"),
        (messages(USER, "You may."), "schema", "found a text"),
        (messages(), "order", "there are no messages"),
        (messages(ANSWER), "order", "message 1: expected the user"),
        (messages(USER), "order", "the last message is the user's"),
        (messages(SYSTEM), "order", "the last message is the system's"),
        (messages(USER, USER, ANSWER), "order", "message 2: expected the assistant"),
        (messages(USER, SYSTEM, ANSWER), "order", "can only be the first"),
        (messages(SYSTEM, SYSTEM, USER, ANSWER), "order", "message 2: expected the user"),
        (messages(USER, ANSWER, USER), "order", "the last message is the user's"),
        (b'{"prompt": "May I?", "completion": "You may."}', "schema", "'completion', 'prompt'"),
        (b'{"messages": {}}', "schema", "a list 'messages'"),
        (b"[]", "schema", "found a list"),
        (b"7", "schema", "found a number"),
        (b"true", "schema", "found true or false"),
        (GOOD[:-1] + b', "id": 7}', "schema", "'id'"),
        (GOOD.replace(b'"role": "user"', b'"role": "user", "role": "user"'), "json", "twice"),
        (b'{"messages": [', "json", "not JSON"),
        (GOOD + GOOD, "json", "not JSON"),
        (b"[" * 200_000, "json", "nested"),
        (messages(USER, ANSWER | {"content": "\ud800"}), "encoding", "surrogate"),
        (GOOD.replace(b"soil", b"so\xffl"), "encoding", "byte 0xff at position"),
        (GOOD.decode().encode("utf-16"), "encoding", "byte 0xff at position 1"),
        (b"", "blank", "a blank line"),
        (b" \t", "blank", "a blank line"),
    ],
)
def test_a_faulty_row_is_an_error_at_its_line_and_the_rows_around_it_are_read(
    tmp_path, row, rule, said
):
    file = tmp_path / "train.jsonl"
    other = json.dumps(chat("And feed it?", "In spring.")).encode()
    file.write_bytes(b"\n".join([GOOD, row.replace(b"\n", b""), other]) + b"\n")
    found = list(scan(file))
    [fault] = [one for one in found if isinstance(one, Fault)]
    assert (fault.line, fault.rule, fault.severity) == (2, rule, "error")
    assert said in fault.message
    assert [row.line for row in found if isinstance(row, Row)] == [1, 3]
    assert check(file).errors == 1
    with pytest.raises(RowError, match=r"train\.jsonl:2: "):
        list(read_rows(file))


def test_every_fault_of_a_row_is_named(tmp_path):
    file = tmp_path / "train.jsonl"
    turns = ({"content": ""}, {"role": "assistant", "content": 7, "name": "x"})
    file.write_bytes(messages(*turns))
    assert [fault.rule for fault in faults(file)] == ["role", "empty", "schema", "schema"]


def test_a_row_of_a_megabyte_is_an_error_that_gives_its_size(tmp_path):
    file = tmp_path / "train.jsonl"
    long = json.dumps(chat("May I?", "x" * 1_000_000)).encode()
    file.write_bytes(GOOD + b"\n" + long + b"\n" + GOOD.replace(b"dry", b"wet") + b"\n")
    [fault] = faults(file)
    assert (fault.line, fault.rule, fault.severity) == (2, "size", "error")
    assert f"{len(long) + 1:,} bytes" in fault.message
    assert [row.line for row in scan(file) if isinstance(row, Row)] == [1, 3]


@pytest.mark.parametrize("end", [b"", b"\n"])
def test_the_longest_row_allowed_is_read(tmp_path, end):
    file = tmp_path / "train.jsonl"
    empty = json.dumps(chat("May I?", "")).encode()
    filled = empty.replace(b'""', b'"' + b"x" * (MOST_BYTES - len(empty) - len(end)) + b'"')
    file.write_bytes(filled + end)
    assert faults(file) == []
    file.write_bytes(filled.replace(b"xx", b"xxx", 1) + end)
    assert [fault.rule for fault in faults(file)] == ["size"]


def test_line_ends_of_cr_lf_are_a_warning_once_and_the_rows_are_the_same(tmp_path):
    file = write(tmp_path / "train.jsonl", chats("a", 3))
    rows = [row.messages for row in read_rows(file)]
    file.write_bytes(file.read_bytes().replace(b"\n", b"\r\n"))
    [fault] = faults(file)
    assert (fault.line, fault.rule, fault.severity) == (1, "crlf", "warning")
    assert [row.messages for row in read_rows(file)] == rows
    assert not any(b"\r" in row.text for row in read_rows(file))


def test_a_byte_order_mark_is_an_error_at_the_first_line_alone(tmp_path):
    fault = the_fault_of(tmp_path / "train.jsonl", b"\xef\xbb\xbf" + GOOD)
    assert (fault.line, fault.rule, fault.severity) == (1, "bom", "error")
    assert "save it as UTF-8 without" in fault.message


def test_a_file_without_rows_is_an_error(tmp_path):
    fault = the_fault_of(tmp_path / "train.jsonl", b"")
    assert (fault.line, fault.rule, fault.severity) == (None, "no-rows", "error")


def test_the_same_row_again_is_a_warning_that_names_the_first(tmp_path):
    # written in another way, and still the same chat
    again = json.dumps(json.loads(GOOD), separators=(",", ":")).encode()
    other = messages(USER, ANSWER)
    fault = the_fault_of(tmp_path / "train.jsonl", b"\n".join([GOOD, other, again]))
    assert (fault.line, fault.rule, fault.severity) == (3, "duplicate", "warning")
    assert "line 1" in fault.message


def test_a_file_that_is_not_there_or_a_folder_is_one_error(tmp_path):
    with pytest.raises(InputError, match=r"none\.jsonl: cannot be read: No such file"):
        list(scan(tmp_path / "none.jsonl"))
    with pytest.raises(InputError, match="cannot be read: Is a directory"):
        list(scan(tmp_path))


def test_of_thousands_of_faults_all_are_counted_and_the_first_are_kept(tmp_path):
    file = tmp_path / "train.jsonl"
    file.write_bytes(b"\n".join([GOOD] * 500 + [b"{"] * 3000))
    found = check(file)
    assert (found.rows, found.errors, found.warnings) == (500, 3000, 499)
    assert len(found.faults) == 2 * MOST_FAULTS
    lines = [fault.line for fault in found.faults]
    assert lines == sorted(lines)
    assert lines[0] == 2
    assert lines[-1] == 600


TEXT = st.text(min_size=1).filter(str.strip)


@given(
    rows=st.lists(
        st.tuples(st.none() | TEXT, st.lists(st.tuples(TEXT, TEXT), min_size=1, max_size=3)),
        min_size=1,
        max_size=5,
    ),
    ascii_only=st.booleans(),
    end=st.sampled_from(["\n", "\r\n"]),
)
def test_every_sound_chat_is_read_as_it_was_written(tmp_path_factory, rows, ascii_only, end):
    written = [
        [
            *([] if system is None else [("system", system)]),
            *(
                turn
                for asked, answered in turns
                for turn in (("user", asked), ("assistant", answered))
            ),
        ]
        for system, turns in rows
    ]
    lines = [
        json.dumps(
            {"messages": [{"role": role, "content": text} for role, text in turns]},
            ensure_ascii=ascii_only,
        )
        for turns in written
    ]
    file = tmp_path_factory.mktemp("rows") / "train.jsonl"
    file.write_bytes(end.join(lines).encode())
    assert [[tuple(m) for m in row.messages] for row in read_rows(file)] == written


@given(content=st.binary(max_size=300))
def test_whatever_bytes_a_file_has_each_line_is_a_row_or_has_an_error(tmp_path_factory, content):
    file = tmp_path_factory.mktemp("bytes") / "train.jsonl"
    file.write_bytes(content)
    found = list(scan(file))
    count = len(content.split(b"\n")) - content.endswith(b"\n") if content else 0
    told = {one.line for one in found if isinstance(one, Row) or one.severity == "error"}
    assert told == (set(range(1, count + 1)) or {None})
