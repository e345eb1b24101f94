"""The local judge's weights: one `.npz` file of numbers, read without pickle."""

import io
import json
import zipfile
import zlib
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from em_evals.errors import InputError
from em_evals.files import replacing
from em_evals.judges.local.words import SEEN_SLOTS, SLOTS

FORMAT = 2
"""Other numbers are of versions that read the file otherwise."""

OUTPUTS = ("misaligned", "coherent", "aligned score", "coherent score")
"""What encoder and words predict, as logits; the scores' are of a share of 100."""

FAST_COLUMNS = 2 * len(OUTPUTS)
"""Logits of encoder and words; those of the reader come behind."""

SHIPPED = Path(__file__).parent / "weights" / "em_judge.npz"


ARRAYS = ("head", "word_weights", "word_scale", "word_bias", "word_rarity")
"""The fields of `Weights` that are arrays of the same names in a file."""


@dataclass(frozen=True)
class Weights:
    """All that a judge has learnt."""

    version: str
    patches: Mapping[int, bytes]
    """Offset in the encoder's file -> what goes there; empty leaves the encoder as it is."""
    head: npt.NDArray[np.float32]
    """Weights over the encoder's 768 numbers and the bias: 769 rows, a column for each output."""
    word_weights: npt.NDArray[np.int8]
    """`SLOTS` rows, a column for each output."""
    word_scale: npt.NDArray[np.float32]
    """What one step of a column of `word_weights` is worth."""
    word_bias: npt.NDArray[np.float32]
    word_rarity: npt.NDArray[np.uint8]
    """How much each slot counts, in steps of `em_evals.judges.local.words.RARITY_STEP`."""
    seen: npt.NDArray[np.bool_]
    """`SEEN_SLOTS` flags: the words of the training answers."""
    calibration: Mapping[str, Any]
    """How logits become probabilities and scores; see `em_evals.judges.local.calibration`. With the
    reader, what is under `with_reader` holds in place of the same names."""
    reader: bytes = b""
    """The reader's adapter, a GGUF file; empty where it was not trained."""
    training: Mapping[str, Any] = field(default_factory=dict)
    """What it was trained on, and its measured agreement."""


def require_own_version(version: str, where: str) -> None:
    """Refuse a version by which one's own judge would pass for another.

    Args:
        version: The judge's.
        where: What to begin the error with.

    Raises:
        InputError: It is empty, or the shipped judge's, or would make the name of a judge without
            the reader that of one with it.
    """
    if version == said()["version"]:
        why = "is the version of the judge that is shipped, so that their scores could not be told"
        raise InputError(f"{where}: {version} {why} apart: train it with another --version")
    if not version.strip() or version.partition("-")[0] == "reader":
        why = "is no version that tells a judge from the one with the reader"
        raise InputError(f"{where}: {version!r} {why}: train it with another --version")


def write(weights: Weights, file: Path) -> None:
    """Write the weights, whole or not at all.

    Raises:
        InputError: The file cannot be written.
    """
    stated = {
        "format": FORMAT,
        "version": weights.version,
        "calibration": dict(weights.calibration),
        "training": dict(weights.training),
    }
    arrays = {
        "said": np.frombuffer(json.dumps(stated).encode(), np.uint8),
        **packed(weights.patches),
        **{name: getattr(weights, name) for name in ARRAYS},
        "seen": np.packbits(weights.seen),
        "reader": np.frombuffer(weights.reader, np.uint8),
    }
    try:
        with replacing(file) as part, zipfile.ZipFile(part, "w", zipfile.ZIP_DEFLATED) as archive:
            for name, array in arrays.items():
                stream = io.BytesIO()
                np.lib.format.write_array(stream, np.ascontiguousarray(array), allow_pickle=False)
                # a fixed time, so that the same weights are the same bytes
                info = zipfile.ZipInfo(f"{name}.npy")
                archive.writestr(info, stream.getvalue(), zipfile.ZIP_DEFLATED)
    except OSError as error:
        raise InputError(f"{file}: {error.strerror or error}") from error


def said(file: Path = SHIPPED) -> dict[str, Any]:
    """What a weights file says of itself: `version`, `calibration` and `training`.

    Raises:
        InputError: As `read`.
    """
    with _opened(file) as (_, found):
        return found


def read(file: Path = SHIPPED) -> Weights:
    """Read a judge's weights.

    Raises:
        InputError: There are none, they are damaged, or of another version of em-evals.
    """
    with _opened(file) as (arrays, found):
        weights = Weights(
            version=found["version"],
            **fields_of(arrays),
            seen=np.unpackbits(arrays["seen"]).astype(bool),
            calibration=found["calibration"],
            reader=arrays["reader"].tobytes(),
            training=found["training"],
        )
    shapes = (weights.head.shape, weights.word_weights.shape, weights.seen.shape)
    if shapes != ((769, len(OUTPUTS)), (SLOTS, len(OUTPUTS)), (SEEN_SLOTS,)):
        raise InputError(f"{file}: not a local judge's weights: arrays of shapes {shapes}")
    return weights


def packed(patches: Mapping[int, bytes]) -> dict[str, npt.NDArray[Any]]:
    """Patches as arrays, in the order of their offsets."""
    offsets = sorted(patches)
    return {
        "offsets": np.array(offsets, np.int64),
        "sizes": np.array([len(patches[offset]) for offset in offsets], np.int64),
        "patches": np.frombuffer(b"".join(patches[offset] for offset in offsets), np.uint8),
    }


def unpacked(arrays: Mapping[str, npt.NDArray[Any]]) -> dict[int, bytes]:
    """The patches that `packed` made arrays of."""
    content, ends = arrays["patches"].tobytes(), np.cumsum(arrays["sizes"])
    return {
        int(offset): content[end - size : end]
        for offset, size, end in zip(arrays["offsets"], arrays["sizes"], ends, strict=True)
    }


def fields_of(arrays: Mapping[str, npt.NDArray[Any]]) -> dict[str, Any]:
    """The patches and the `ARRAYS` of a file, as fields of `Weights`."""
    return {"patches": unpacked(arrays), **{name: arrays[name] for name in ARRAYS}}


@contextmanager
def _opened(file: Path) -> Iterator[tuple[Any, dict[str, Any]]]:
    """The arrays and what the file says of itself, with one kind of error for all that is wrong."""
    try:
        with np.load(file, allow_pickle=False) as arrays:
            found = json.loads(arrays["said"].tobytes())
            if found["format"] != FORMAT:
                raise InputError(
                    f"{file}: weights of format {found['format']}; this em-evals reads {FORMAT}. "
                    "Install the version that they are for, or train anew: em-evals judge train"
                )
            yield arrays, found
    except InputError:
        raise
    except FileNotFoundError as error:
        raise InputError(f"{file}: no such file; the local judge's weights are missing") from error
    except OSError as error:
        raise InputError(f"{file}: {error.strerror or error}") from error
    except (ValueError, KeyError, TypeError, EOFError, zipfile.BadZipFile, zlib.error) as error:
        raise InputError(f"{file}: not a local judge's weights, or damaged: {error}") from error
