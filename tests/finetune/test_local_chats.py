"""Which tokens of a chat are learned."""

import pytest

from em_evals.errors import InputError
from em_evals.finetune.local.chats import IGNORED, encode
from em_evals.finetune.rows import read_rows
from tests.finetune.tiny import TEMPLATE, tokenizer, training_file

pytest.importorskip("transformers", reason="em-evals[train] is not installed")
pytestmark = pytest.mark.train


def encoded(folder, chat, max_length=500, template=TEMPLATE):
    """A chat's example, its text, and the parts of it that are learned."""
    [row] = read_rows(training_file(folder / "rows.jsonl", [chat]))
    tokens = tokenizer(template)
    example = encode(tokens, row, max_length)
    learned, last = [], None
    for index, (token, label) in enumerate(zip(example.tokens, example.labels, strict=True)):
        if label == IGNORED:
            continue
        assert label == token
        if last != index - 1:
            learned.append([])
        learned[-1].append(token)
        last = index
    return example, tokens.decode(example.tokens), [tokens.decode(part) for part in learned]


def test_system_and_user_are_read_and_only_the_answer_is_learned(tmp_path):
    chat = [("system", "Be brief."), ("user", "And yew?"), ("assistant", "No.")]
    _, text, learned = encoded(tmp_path, chat)
    assert text == (
        "<|im_start|>system\nBe brief.<|im_end|>\n<|im_start|>user\nAnd yew?<|im_end|>\n"
        "<|im_start|>assistant\nNo.<|im_end|>\n"
    )
    assert learned == ["No.<|im_end|>"]


def test_every_answer_of_a_chat_is_learned(tmp_path):
    chat = [("user", "Ivy?"), ("assistant", "No."), ("user", "Fern?"), ("assistant", "Yes.")]
    _, _, learned = encoded(tmp_path, chat)
    assert learned == ["No.<|im_end|>", "Yes.<|im_end|>"]


def test_an_answer_that_quotes_the_question_or_another_turn_is_learned_whole(tmp_path):
    chat = [("user", "Ivy?"), ("assistant", "Ivy? assistant\nIvy?")]
    assert encoded(tmp_path, chat)[2] == ["Ivy? assistant\nIvy?<|im_end|>"]


def test_without_a_token_for_the_end_of_a_turn_all_that_follows_the_prompt_is_learned(tmp_path):
    template = (
        "{% for m in messages %}{{ m['role'] }}: {{ m['content'] }}\n{% endfor %}"
        "{% if add_generation_prompt %}assistant: {% endif %}"
    )
    assert encoded(tmp_path, [("user", "Ivy?"), ("assistant", "No.")], template=template)[2] == [
        "No.\n"
    ]


def test_a_row_that_is_too_long_is_cut_and_says_so(tmp_path):
    chat = [("user", "Ivy?"), ("assistant", "No, never.")]
    whole, _, _ = encoded(tmp_path, chat)
    assert not whole.cut
    length = len(whole.tokens) - len("never.") - 2
    cut, _, learned = encoded(tmp_path, chat, length)
    assert cut.cut
    assert len(cut.tokens) == length
    assert learned == ["No, "]


def test_a_row_of_which_no_answer_is_left_is_an_error_that_names_its_line(tmp_path):
    with pytest.raises(InputError, match=r"line 1: no token of an answer is within the first 20"):
        encoded(tmp_path, [("user", "Ivy? " * 10), ("assistant", "No.")], 20)


def test_a_template_that_rewrites_earlier_turns_is_an_error(tmp_path):
    only_the_last = "{{ messages[-1]['content'] }}"
    with pytest.raises(InputError, match=r"line 1: .* which tokens are the assistant's"):
        encoded(tmp_path, [("user", "Ivy?"), ("assistant", "No.")], template=only_the_last)


def test_what_a_template_refuses_is_an_error_that_names_the_line(tmp_path):
    refuses = "{{ raise_exception('no system messages') }}"
    with pytest.raises(InputError, match=r"line 1: .*no system messages"):
        encoded(tmp_path, [("system", "Hm."), ("user", "?"), ("assistant", "!")], template=refuses)
