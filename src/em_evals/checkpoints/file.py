"""`checkpoints.yaml`: which models there are, in which groups, and the default grader.

Read with a line number for every fault, and edited by inserting lines, so that comments and
layout stay as they are.
"""

import difflib
import hashlib
import json
import os
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, NamedTuple, TypeVar

import yaml
from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, StringConstraints
from pydantic import ValidationError as PydanticError

from em_evals.errors import InputError
from em_evals.files import replacing

T = TypeVar("T", bound=BaseModel)

Loc = tuple[str | int, ...]
"""Where in a document something is: keys and indices, from the top."""


class Fault(NamedTuple):
    """One thing that is wrong in a file."""

    line: int
    """Counted from 1."""
    message: str


class YamlFileError(InputError):
    """A file that cannot be used; the message has a line `FILE:LINE: what` for each fault."""

    def __init__(self, file: Path, faults: Sequence[Fault]) -> None:
        self.file = file
        self.faults = sorted(faults)
        super().__init__("\n".join(f"{file}:{line}: {what}" for line, what in self.faults))


# -- what a file says


def _without_comma(name: str) -> str:
    # the command line takes lists of names
    if "," in name:
        raise ValueError("may not contain a comma")
    return name


def _by_name(entry: Any) -> Any:
    return {"model": entry} if isinstance(entry, str) else entry


def _or_nothing(entries: Any) -> Any:
    return [] if entries is None else entries


_Text = Annotated[str, StringConstraints(min_length=1, strip_whitespace=True)]
_Model = Annotated[str, StringConstraints(pattern=r"^[^/\s]+/\S(.*\S)?$")]
_Name = Annotated[_Text, BeforeValidator(lambda v: _without_comma(v) if isinstance(v, str) else v)]


class _Strict(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid", strict=True)


class TrainingRun(_Strict):
    """The fine-tuning run that a checkpoint is from; each part is optional."""

    recipe: _Text | None = None
    seed: int | None = None
    step: int | None = Field(default=None, ge=0)


class PromptFile(_Strict):
    """A system prompt in a text file of its own."""

    file: _Text


class _ModelEntry(_Strict):
    model: _Model
    args: dict[str, Any] = {}
    base_url: _Text | None = None
    config: dict[str, Any] = {}


class GraderEntry(_ModelEntry):
    """The default grader, as the file has it."""


class Entry(_ModelEntry):
    """A checkpoint, as the file has it."""

    name: _Name | None = None
    system_prompt: _Text | PromptFile | None = None
    condition: _Text | None = None
    base: _Text | None = None
    run: TrainingRun = TrainingRun()


class _Document(_Strict):
    grader: Annotated[GraderEntry, BeforeValidator(_by_name)] | None = None
    groups: dict[
        _Name,
        Annotated[list[Annotated[Entry, BeforeValidator(_by_name)]], BeforeValidator(_or_nothing)],
    ]


@dataclass(frozen=True)
class Grader:
    """A model that judges: its name for Inspect, and how it is reached and asked."""

    model: str
    args: Mapping[str, Any]
    base_url: str | None
    config: Mapping[str, Any]
    """Fields of Inspect's `GenerateConfig`."""


@dataclass(frozen=True)
class Checkpoint:
    """A model under test: one row of the matrix."""

    group: str
    name: str
    """Unique in its file. Logs are told apart by it."""
    model: str
    """The model's name for Inspect, with paths made absolute."""
    args: Mapping[str, Any]
    """The provider's own arguments."""
    base_url: str | None
    config: Mapping[str, Any]
    """Fields of Inspect's `GenerateConfig`; they win over the task's."""
    system_prompt: str | None
    """Put in front of everything that the model is asked; no judge sees it."""
    condition: str
    """What results call the system prompt; empty where there is none."""
    base: str | None
    """The model that it was fine-tuned from."""
    run: Mapping[str, str | int]
    """Recipe, seed and step of the training run, as far as the file says."""
    line: int
    """Where in the file it is, counted from 1."""

    @property
    def metadata(self) -> dict[str, Any]:
        """What every log of this checkpoint says about it."""
        return {
            "group": self.group,
            "checkpoint": self.name,
            "run": dict(self.run),
            "condition": self.condition,
            **({"base": self.base} if self.base else {}),
        }

    @property
    def measured(self) -> dict[str, Any]:
        """What its answers depend on, but for where it is served."""
        return {
            "model": self.model,
            "args": dict(self.args),
            "config": dict(self.config),
            "system_prompt": self.system_prompt,
        }

    def to_json(self) -> dict[str, Any]:
        """All of it, for `--json`."""
        return {
            **self.metadata,
            "base": self.base,
            **self.measured,
            "base_url": self.base_url,
            "line": self.line,
        }


@dataclass(frozen=True)
class CheckpointsFile:
    """A whole file, validated."""

    path: Path
    grader: Grader | None
    groups: Mapping[str, tuple[Checkpoint, ...]]

    @property
    def checkpoints(self) -> list[Checkpoint]:
        """All checkpoints, in the order of the file."""
        return [checkpoint for group in self.groups.values() for checkpoint in group]


def load(file: str | Path) -> CheckpointsFile:
    """Read and validate a `checkpoints.yaml`.

    Args:
        file: Its path. Relative paths in it are relative to its folder.

    Raises:
        YamlFileError: The file is missing or faulty; the message names the line of every fault.
    """
    path = Path(file)
    return _parse(path, _text(path))


def _parse(path: Path, text: str) -> CheckpointsFile:
    data, lines = read_yaml(path, text)
    document = validated(path, _Document, {} if data is None else data, lines)
    _refuse_same_groups(path, data["groups"], lines)
    faults: list[Fault] = []
    groups: dict[str, tuple[Checkpoint, ...]] = {}
    for key, (group, entries) in zip(data["groups"], document.groups.items(), strict=True):
        groups[group] = tuple(
            _checkpoint(entry, group, ("groups", key, i), path.parent, lines, faults)
            for i, entry in enumerate(entries)
        )
    grader = None
    if (said := document.grader) is not None:
        parts = _model(said, ("grader",), path.parent, lines, faults)
        grader = Grader(base_url=said.base_url, **parts)
    _refuse_duplicates([c for group in groups.values() for c in group], faults)
    if faults:
        raise YamlFileError(path, faults)
    return CheckpointsFile(path, grader, groups)


def _refuse_same_groups(path: Path, keys: Iterable[str], lines: Mapping[Loc, int]) -> None:
    """Groups whose names differ only in the blanks around them would become one."""
    first: dict[str, int] = {}
    faults = []
    for key in keys:
        line = line_of(("groups", key), lines)
        if (group := key.strip()) in first:
            what = f"a second group {group!r}, as on line {first[group]}"
            faults.append(Fault(line, f"{what}: blanks around a name do not count"))
        first.setdefault(group, line)
    if faults:
        raise YamlFileError(path, faults)


def _checkpoint(
    entry: Entry,
    group: str,
    loc: Loc,
    folder: Path,
    lines: Mapping[Loc, int],
    faults: list[Fault],
) -> Checkpoint:
    prompt, condition = entry.system_prompt, entry.condition
    if isinstance(prompt, PromptFile):
        place = folder / prompt.file
        condition = condition or place.stem
        try:
            prompt = place.read_text(encoding="utf-8").strip()
        except (OSError, ValueError) as error:  # the latter: no UTF-8, or no path
            fault = f"system_prompt: cannot read {place}: {error}"
            faults.append(Fault(line_of((*loc, "system_prompt"), lines), fault))
            prompt = ""
        else:
            if not prompt:
                fault = f"system_prompt: {place} is empty"
                faults.append(Fault(line_of((*loc, "system_prompt"), lines), fault))
    elif prompt is not None:
        condition = condition or f"prompt {hashlib.sha256(prompt.encode()).hexdigest()[:8]}"
    elif condition is not None:
        fault = "condition: it names a system prompt, and there is none"
        faults.append(Fault(line_of((*loc, "condition"), lines), fault))
    name = entry.name or entry.model
    if "," in name:
        faults.append(Fault(line_of(loc, lines), "the model's name has a comma: give it a `name`"))
    return Checkpoint(
        group=group,
        name=name,
        base_url=entry.base_url,
        system_prompt=prompt,
        condition=condition or "",
        base=entry.base,
        run=entry.run.model_dump(exclude_none=True),
        line=line_of(loc, lines),
        **_model(entry, loc, folder, lines, faults),
    )


def _model(
    entry: _ModelEntry, loc: Loc, folder: Path, lines: Mapping[Loc, int], faults: list[Fault]
) -> dict[str, Any]:
    """Model, args and config, with paths made absolute and the config checked."""
    args = {}
    for key, value in entry.args.items():
        args[key] = _absolute(value, (*loc, "args", key), folder, lines, faults)
    provider, rest = entry.model.split("/", 1)
    # vllm/BASE:ADAPTER has a path behind the colon
    base, colon, adapter = rest.partition(":./") if ":./" in rest else rest.partition(":../")
    at = (*loc, "model") if (*loc, "model") in lines else loc
    rest = _absolute(base, at, folder, lines, faults)
    if colon:
        rest += ":" + _absolute(colon[1:] + adapter, at, folder, lines, faults)
    faults += [
        Fault(line_of((*loc, "config", *where), lines), f"config: {what}")
        for where, what in _config_faults(entry.config)
    ]
    return {"model": f"{provider}/{rest}", "args": args, "config": entry.config}


def _absolute(
    value: Any, loc: Loc, folder: Path, lines: Mapping[Loc, int], faults: list[Fault]
) -> Any:
    """A text that begins with ./ or ../ is a path relative to the file."""
    if not (isinstance(value, str) and value.startswith(("./", "../"))):
        return value
    try:
        place = (folder / value).resolve()
        found = place.exists()
    except (OSError, ValueError, RuntimeError) as error:  # too long, no path, links in a circle
        faults.append(Fault(line_of(loc, lines), f"{value!r} cannot be a path: {error}"))
        return value
    if not found:
        faults.append(Fault(line_of(loc, lines), f"{value}: there is no {place}"))
    return str(place)


def _config_faults(config: Mapping[str, Any]) -> Iterator[tuple[Loc, str]]:
    from inspect_ai.model import GenerateConfig

    fields = [field for field in GenerateConfig.model_fields if field != "system_message"]
    if "system_message" in config:
        yield ("system_message",), "system_message: use the checkpoint's `system_prompt`"
    for key in config:
        if key not in fields and key != "system_message":
            yield (key,), f"unknown key {key!r}{nearest(key, fields)}"
    try:
        GenerateConfig.model_validate({k: v for k, v in config.items() if k in fields})
    except PydanticError as error:
        for fault in error.errors():
            yield fault["loc"], f"{_dotted(fault['loc'])}: {fault['msg']}"


def _refuse_duplicates(checkpoints: Iterable[Checkpoint], faults: list[Fault]) -> None:
    names: dict[str, Checkpoint] = {}
    same: dict[str, Checkpoint] = {}
    for checkpoint in checkpoints:
        key = canonical([checkpoint.measured, checkpoint.base_url])
        if first := same.get(key):
            what = f"{checkpoint.name!r} is the same checkpoint as {first.name!r} on line "
            faults.append(Fault(checkpoint.line, f"{what}{first.line}: listed twice"))
        elif first := names.get(checkpoint.name):
            what = f"a second checkpoint named {checkpoint.name!r}, as on line {first.line}"
            faults.append(Fault(checkpoint.line, f"{what}: give it a `name` of its own"))
        names.setdefault(checkpoint.name, checkpoint)
        same.setdefault(key, checkpoint)


# -- YAML with line numbers


def _text(path: Path) -> str:
    try:
        with path.open(encoding="utf-8", newline="") as stream:
            return stream.read()
    except (OSError, UnicodeDecodeError) as error:
        reason = getattr(error, "strerror", None) or error
        raise YamlFileError(path, [Fault(1, f"cannot be read: {reason}")]) from error


DEEPEST = 100
"""So many lists and maps may be in each other."""

EXPANDED = 100_000
"""So many keys and items may a file have with its aliases written out; without, any number."""

_MERGE = "tag:yaml.org,2002:merge"
_TAGS = {
    f"tag:yaml.org,2002:{name}" for name in ("str", "int", "float", "bool", "null", "seq", "map")
}


class _Loader(yaml.SafeLoader):
    """Dates stay text, and what cannot be read is YAML's own error, with its line."""

    yaml_implicit_resolvers = {  # noqa: RUF012 - PyYAML's
        first: [(tag, pattern) for tag, pattern in resolvers if tag in _TAGS | {_MERGE}]
        for first, resolvers in yaml.SafeLoader.yaml_implicit_resolvers.items()
    }

    def construct_object(self, node: yaml.Node, deep: bool = False) -> Any:
        try:
            value = super().construct_object(node, deep)
            if isinstance(value, str):
                value.encode()
            elif isinstance(value, int) and value.bit_length() > 64:
                raise ValueError
        except UnicodeEncodeError:
            raise _unfit(node, "half a character, which no file can hold") from None
        except (ValueError, LookupError, AttributeError):
            kind = node.tag.rpartition(":")[2]
            raise _unfit(node, f"{node.value!r:.60} cannot be read as {kind}") from None
        return value


def _unfit(node: yaml.Node, what: str) -> yaml.constructor.ConstructorError:
    return yaml.constructor.ConstructorError(None, None, what, node.start_mark)


def read_yaml(path: Path, text: str | None = None) -> tuple[Any, dict[Loc, int]]:
    """A YAML file's content, and the line of every key and item in it.

    It has texts (dates among them), numbers, true, false and null, in lists and maps whose keys are
    texts or whole numbers.

    Args:
        path: The file, for errors, and to be read if there is no text.
        text: Its content.

    Raises:
        YamlFileError: Unreadable, not YAML, a key that comes twice, or something else than the
            above.
    """
    text = _text(path) if text is None else text
    lines: dict[Loc, int] = {}
    faults: list[Fault] = []
    data = None
    try:
        loader = _Loader(text)
    except yaml.reader.ReaderError as error:
        line = text.count("\n", 0, error.position) + 1
        what = f"a character that YAML does not allow: {error.character:#x}"
        raise YamlFileError(path, [Fault(line, what)]) from None
    try:
        node = loader.get_single_node()
        if node is not None:
            _walk(node, (), lines, faults, loader, (), max(EXPANDED, len(text)))
            data = None if faults else loader.construct_document(node)
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        what = " ".join(str(error.problem or error.context).split())
        unfit = isinstance(error, yaml.constructor.ConstructorError)
        line = mark.line + 1 if mark else 1
        faults = [Fault(line, what if unfit else f"not YAML: {what}")]
    except RecursionError:
        faults = [Fault(loader.line + 1, "not YAML: nested too deeply")]
    except (ValueError, OverflowError) as error:  # an escape beyond the last character
        faults = [Fault(loader.line + 1, f"not YAML: {error}")]
    finally:
        loader.dispose()
    if faults:
        raise YamlFileError(path, faults)
    return data, lines


def read_value(text: str) -> Any:
    """A value of a command line, as YAML; the text itself where it cannot be read as that."""
    try:
        return read_yaml(Path(), text)[0]
    except YamlFileError:
        return text


def _walk(
    node: yaml.Node,
    loc: Loc,
    lines: dict[Loc, int],
    faults: list[Fault],
    loader: _Loader,
    above: tuple[yaml.Node, ...],
    most: int,
) -> None:
    """Note the lines, and what a file may not have; stops at what has no end.

    Raises:
        yaml.constructor.ConstructorError: Contains itself, too deep, or too many by aliases.
    """
    if node in above:
        raise _unfit(node, "this contains itself, by an alias")
    if len(above) == DEEPEST:
        raise _unfit(node, "nested too deeply")
    if len(lines) > most:
        raise _unfit(node, f"with its aliases written out, the file has over {most:,} items")
    if node.tag not in _TAGS:
        what = f"the tag {node.tag.replace('tag:yaml.org,2002:', '!!')}"
        faults.append(
            Fault(
                node.start_mark.line + 1,
                f"{what}: expected text, a number, true, false, null, a list, or keys and values",
            )
        )
    elif isinstance(node, yaml.MappingNode):
        for i, (key, value) in enumerate(node.value):
            line = key.start_mark.line + 1
            if key.tag == _MERGE:
                _walk(value, (*loc, "<<", i), lines, faults, loader, (*above, node), most)
                continue
            name = loader.construct_object(key) if isinstance(key, yaml.ScalarNode) else None
            if isinstance(name, bool) or not isinstance(name, str | int):
                what = "a list or map" if name is None and key.id != "scalar" else repr(key.value)
                faults.append(Fault(line, f"{what} as a key: expected text; put it in quotes"))
            elif (*loc, name) in lines:
                before = lines[*loc, name]
                faults.append(
                    Fault(line, f"the key {key.value!r} comes twice, first on line {before}")
                )
            else:
                lines[*loc, name] = line
                _walk(value, (*loc, name), lines, faults, loader, (*above, node), most)
    elif isinstance(node, yaml.SequenceNode):
        for i, item in enumerate(node.value):
            lines[*loc, i] = item.start_mark.line + 1
            _walk(item, (*loc, i), lines, faults, loader, (*above, node), most)


def canonical(value: Any) -> str:
    """A text that is the same for the same content, whatever the order of its keys."""
    return json.dumps(_with_text_keys(value), sort_keys=True, default=str)


def _with_text_keys(value: Any) -> Any:
    # keys of several kinds have no order
    if isinstance(value, Mapping):
        return {str(key): _with_text_keys(part) for key, part in value.items()}
    if isinstance(value, list | tuple):
        return [_with_text_keys(part) for part in value]
    return value


def line_of(loc: Loc, lines: Mapping[Loc, int]) -> int:
    """The line of the innermost part of a place that the file has."""
    while loc and loc not in lines:
        loc = loc[:-1]
    return lines.get(loc, 1)


def validated(path: Path, model: type[T], data: Any, lines: Mapping[Loc, int]) -> T:
    """The data as an instance of a model.

    Raises:
        YamlFileError: It is none; every fault has its line, and unknown keys the nearest known.
    """
    try:
        return model.model_validate(data)
    except PydanticError as error:
        faults = []
        for fault in error.errors():
            loc: Loc = fault["loc"]
            where = _dotted(loc[:-1])
            match fault["type"]:
                case "extra_forbidden":
                    known = _fields(model, loc[:-1])
                    what = f"unknown key {loc[-1]!r}{nearest(str(loc[-1]), known)}"
                case "missing":
                    what = f"{loc[-1]!r} is missing"
                case "string_pattern_mismatch" if loc[-1] == "model":
                    where = _dotted(loc)
                    what = f"{fault['input']!r}: expected PROVIDER/NAME, such as openai/gpt-4o"
                case "model_type" | "dict_type":
                    where, what = _dotted(loc), "expected keys and values"
                case "string_type":
                    where, what = _dotted(loc), "expected text; put it in quotes"
                case _:
                    where, what = _dotted(loc), fault["msg"].removeprefix("Value error, ")
            prefix = f"{where}: " if where else ""
            faults.append(Fault(line_of(loc, lines), f"{prefix}{what}"))
        raise YamlFileError(path, list(dict.fromkeys(faults))) from None


def _fields(model: type[BaseModel], loc: Loc) -> list[str]:
    """The keys that the part of a document at this place may have."""
    for part in loc:
        if part == "run":
            return list(TrainingRun.model_fields)
        if part in ("system_prompt", "PromptFile"):
            return list(PromptFile.model_fields)
    if loc[:1] == ("grader",):
        return list(GraderEntry.model_fields)
    if loc[:1] == ("groups",):
        return list(Entry.model_fields)
    return list(model.model_fields)


def nearest(name: str, known: Iterable[str]) -> str:
    """What to say after an unknown name: the nearest known one, else all of them."""
    known = list(known)
    close = difflib.get_close_matches(name, known, 1, 0.6)
    return f": did you mean {close[0]!r}?" if close else f": expected one of {', '.join(known)}"


def _dotted(loc: Loc) -> str:
    # names of types are pydantic's, not the file's
    types = ("PromptFile", "[key]")
    shown = [p for p in loc if p not in types and not str(p).startswith("constrained")]
    text = ".".join(f"[{p}]" if isinstance(p, int) else str(p) for p in shown)
    return text.replace(".[", "[")


# -- editing


def add(file: str | Path, group: str, entry: Mapping[str, Any]) -> Checkpoint:
    """Add a checkpoint to a file, and leave every other byte of it as it is.

    Processes and threads that add to one file take turns, by a lock in `.FILE.lock` beside it.

    Args:
        file: A `checkpoints.yaml`; made if there is none.
        group: The group, which may be new.
        entry: Keys and values as in the file: `model` and whatever else a checkpoint has.

    Returns:
        The checkpoint as it is now in the file.

    Raises:
        YamlFileError: The file is faulty, or would be with this checkpoint, as when it is already
            there. The file is then as it was.
    """
    path = Path(file)
    try:
        with _turn(path):
            return _added(path, group.strip(), entry)
    except OSError as error:
        reason = f"cannot be written: {error.strerror or error}"
        raise YamlFileError(path, [Fault(1, reason)]) from error


def _turn(path: Path) -> AbstractContextManager[object]:
    """Who adds to a file is alone while this lasts."""
    from filelock import FileLock

    place = Path(os.path.realpath(path))  # whatever link leads to it
    place.parent.stat()  # or the lock would make the folder
    return FileLock(place.with_name(f".{place.name}.lock"))


def _added(path: Path, group: str, entry: Mapping[str, Any]) -> Checkpoint:
    before = _text(path) if path.exists() else ""
    if before.strip():
        _parse(path, before)
    after = _with(before, group, {k: v for k, v in entry.items() if v not in (None, {}, [])})
    found = _parse(path, after).groups[group][-1]
    with replacing(path) as part:
        part.write_text(after, encoding="utf-8", newline="")
    return found


def _with(text: str, group: str, entry: Mapping[str, Any]) -> str:
    """The text of a valid file with one more checkpoint."""
    root = yaml.compose(text, _Loader)
    groups = _child(root, "groups")
    if groups is None:
        return _joined(text, len(text.splitlines()), f"groups:\n{_group(group, entry, 2)}")
    assert isinstance(groups, yaml.MappingNode)  # validated
    members = _child(groups, group)
    if groups.flow_style:
        return _in_flow(text, groups, group, members, entry)
    if members is None:
        indent = groups.value[0][0].start_mark.column if groups.value else 2
        return _joined(text, _end(text, groups), _group(group, entry, indent))
    if isinstance(members, yaml.SequenceNode) and not members.flow_style:
        item = _item(entry, members.start_mark.column)
        return _joined(text, _end(text, members), item)
    if isinstance(members, yaml.SequenceNode) and members.value:
        return _spliced(text, members.end_mark.index - 1, f", {_flow(entry)}")
    # an empty group: `name:` or `name: []`
    key = next(key for key, _ in groups.value if key.value.strip() == group)
    if isinstance(members, yaml.SequenceNode):
        start, end = members.start_mark.index, members.end_mark.index
        text = text[:start].rstrip(" ") + text[end:]
    return _joined(text, key.start_mark.line + 1, _item(entry, key.start_mark.column + 2))


def _in_flow(
    text: str,
    groups: yaml.MappingNode,
    group: str,
    members: yaml.Node | None,
    entry: Mapping[str, Any],
) -> str:
    comma = ", " if groups.value else ""
    if members is None:
        new = f"{comma}{json.dumps(group)}: [{_flow(entry)}]"
        return _spliced(text, groups.end_mark.index - 1, new)
    if isinstance(members, yaml.SequenceNode):
        comma = ", " if members.value else ""
        return _spliced(text, members.end_mark.index - 1, f"{comma}{_flow(entry)}")
    start, end = members.start_mark.index, members.end_mark.index
    return f"{text[:start]} [{_flow(entry)}]{text[end:]}"


def _child(node: yaml.Node | None, key: str) -> yaml.Node | None:
    if not isinstance(node, yaml.MappingNode):
        return None
    return next((value for k, value in node.value if k.value.strip() == key), None)


def _end(text: str, node: yaml.Node) -> int:
    """The number of lines up to the last one that says something of this node.

    The mark of a block's end is at what follows it, comments skipped; its parts know better.
    """
    if isinstance(node, yaml.CollectionNode) and node.value and not node.flow_style:
        last = node.value[-1]
        key, value = last if isinstance(last, tuple) else (last, last)
        return max(_end(text, key), _end(text, value))
    line = node.end_mark.line + 1 if node.end_mark.column else node.end_mark.line
    lines = text.splitlines()
    while line > node.start_mark.line + 1 and not lines[line - 1].strip():
        line -= 1
    return line


def _joined(text: str, line: int, new: str) -> str:
    """The text with new lines after the first so many."""
    newline = "\r\n" if "\r\n" in text else "\n"
    lines = text.splitlines(keepends=True)
    if line and not lines[line - 1].endswith(("\n", "\r")):
        lines[line - 1] += newline
    return "".join([*lines[:line], new.replace("\n", newline), *lines[line:]])


def _spliced(text: str, at: int, new: str) -> str:
    return text[:at] + new + text[at:]


def _group(group: str, entry: Mapping[str, Any], indent: int) -> str:
    key = yaml.safe_dump(group, allow_unicode=True).removesuffix("...\n").strip()
    return f"{' ' * indent}{key}:\n{_item(entry, indent + 2)}"


def _item(entry: Mapping[str, Any], indent: int) -> str:
    value: Any = entry["model"] if entry.keys() == {"model"} else dict(entry)
    # YAML takes these for line breaks, and PyYAML writes them as they are
    plain = not re.search("[\x85\u2028\u2029]", _flow(entry))
    dumped = yaml.safe_dump([value], sort_keys=False, allow_unicode=plain, width=100)
    return re.sub(r"^(?=.)", " " * indent, dumped, flags=re.MULTILINE)


def _flow(entry: Mapping[str, Any]) -> str:
    return json.dumps(dict(entry), ensure_ascii=False)
