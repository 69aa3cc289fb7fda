"""Read a YAML file and `--set a.b=c` overrides into a family's frozen, typed options.

Every error is one line: the file (or the override), the line, the key path, what is wrong, and the
nearest valid key.
"""

import difflib
import json
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, TypeVar, get_args, get_origin

import yaml
from pydantic import BaseModel, ValidationError

from core.errors import UserError
from core.options import NamedConfig

KeyPath = tuple[str | int, ...]
Marks = dict[KeyPath, str]
"""{key path: `file:line` or the override that set it}."""

C = TypeVar("C", bound=NamedConfig)

RETIRED = {"train": {"joint_forward"}}
"""{section: options of earlier versions}. They never changed a number; what has stored them (run
folders, checkpoints) is read as if it had not."""


_TAGS = {
    f"tag:yaml.org,2002:{kind}"
    for kind in ("str", "int", "float", "bool", "null", "seq", "map", "merge")
}


class _Loader(yaml.SafeLoader):
    """YAML 1.1 without its traps: `1e-4` is a float, a date or `on` is text, a key stands once."""


_Loader.yaml_implicit_resolvers = {
    first: [(tag, rule) for tag, rule in rules if not tag.endswith((":timestamp", ":bool"))]
    for first, rules in yaml.SafeLoader.yaml_implicit_resolvers.items()
}
_Loader.add_implicit_resolver(
    "tag:yaml.org,2002:float",
    re.compile(r"^[-+]?(?:[0-9][0-9_]*)(?:\.[0-9_]*)?[eE][-+]?[0-9]+$"),
    list("-+0123456789"),
)
_Loader.add_implicit_resolver(
    "tag:yaml.org,2002:bool", re.compile(r"^(?:true|True|TRUE|false|False|FALSE)$"), list("tTfF")
)


_MOST_KEYS = 20_000
"""Keys and list entries of a config; aliases within aliases multiply without end."""


def _walk(node: yaml.Node, path: KeyPath, source: str, marks: Marks) -> None:
    """Note the line of every key; refuse a key that stands twice and what JSON cannot hold."""
    if len(marks) > _MOST_KEYS:
        raise UserError(
            f"{source}: more than {_MOST_KEYS:,} entries once aliases are written out; a config "
            "has a few dozen"
        )
    if node.tag not in _TAGS:
        raise UserError(
            f"{source}:{node.start_mark.line + 1}: {_dotted(path)}: tag {node.tag} is not "
            "supported; write plain text, numbers, lists and sections"
        )
    marks.setdefault(path, f"{source}:{node.start_mark.line + 1}")
    if isinstance(node, yaml.MappingNode):
        for key, value in node.value:
            child = (*path, str(key.value))
            if child in marks:
                raise UserError(
                    f"{source}:{key.start_mark.line + 1}: {_dotted(child)}: "
                    f"given twice, first at {marks[child]}; remove one"
                )
            marks[child] = f"{source}:{key.start_mark.line + 1}"
            _walk(value, child, source, marks)
    elif isinstance(node, yaml.SequenceNode):
        for index, value in enumerate(node.value):
            _walk(value, (*path, index), source, marks)


def _dotted(path: Sequence[str | int]) -> str:
    return ".".join(str(part) for part in path)


def _parse(text: str, source: str) -> tuple[Any, Marks]:
    marks: Marks = {}
    try:
        node = yaml.compose(text, Loader=_Loader)
        if node is not None:
            _walk(node, (), source, marks)
        return yaml.load(text, Loader=_Loader), marks  # a SafeLoader: builds no objects
    except UserError:
        raise
    except yaml.MarkedYAMLError as error:
        line = error.problem_mark.line + 1 if error.problem_mark else 1
        raise UserError(f"{source}:{line}: not valid YAML: {error.problem}") from None
    except RecursionError:
        raise UserError(f"{source}: not valid YAML: nested too deep, or in itself") from None
    except (yaml.YAMLError, ValueError) as error:  # ValueError: `!!int x`
        raise UserError(f"{source}: not valid YAML: {' '.join(str(error).split())}") from None


def _apply_override(tree: dict[str, Any], marks: Marks, override: str) -> None:
    key, equals, text = override.partition("=")
    path = tuple(key.strip().split("."))
    source = f"--set {override}"
    if not equals or not all(path):
        raise UserError(f"{source}: expected the form section.key=value")
    value, _ = _parse(text, source)
    node = tree
    for depth, part in enumerate(path[:-1], 1):
        child = node.setdefault(part, {})
        if not isinstance(child, dict):
            raise UserError(f"{source}: {_dotted(path[:depth])} is a value, not a section")
        node = child
    node[path[-1]] = value
    for depth in range(1, len(path) + 1):
        marks.setdefault(path[:depth], source)
    marks[path] = source


def _valid_keys(model: type[BaseModel], path: Sequence[str | int]) -> list[str]:
    """Return the keys of the section that `path` leads to; numbers in it are places in a list."""
    for part in path:
        if isinstance(part, int):
            continue
        field = model.model_fields.get(part)
        inner = field.annotation if field else None
        if get_origin(inner) is tuple:
            inner = get_args(inner)[0]
        if not (isinstance(inner, type) and issubclass(inner, BaseModel)):
            return []
        model = inner
    return sorted(model.model_fields)


def _explain(error: ValidationError, config: type[NamedConfig], marks: Marks, source: str) -> str:
    """Explain an error in one line: an unknown key first, as it may explain a missing one."""
    errors = error.errors()
    first = next((e for e in errors if e["type"] == "extra_forbidden"), errors[0])
    # Pydantic adds the names of union members to the location; a key path has none of them.
    path = tuple(first["loc"])
    while path and path not in marks and first["type"] != "missing":
        path = path[:-1]
    path = path or tuple(first["loc"])  # options of a checkpoint come from no line of a file
    where = marks.get(path) or marks.get(path[:-1]) or marks.get(()) or source
    # Of options that do not go together the one on the command line is the one just tried.
    tried = (mark for key, mark in marks.items() if key[: len(path)] == path and "--set" in mark)
    where = next(tried, where)
    name = _dotted(path) or "the file"
    if first["type"] == "extra_forbidden":
        valid = _valid_keys(config, path[:-1])
        near = difflib.get_close_matches(str(path[-1]), valid, n=1, cutoff=0.5)
        hint = f"did you mean `{near[0]}`? " if near else ""
        return f"{where}: {name}: unknown key; {hint}valid keys: {', '.join(valid)}"
    if first["type"] == "missing":
        return f"{where}: {name}: required, but not given"
    message = first["msg"].removeprefix("Value error, ")
    value = json.dumps(first["input"], default=str)
    value = value if len(value) <= 60 else value[:57] + "..."
    return f"{where}: {name}: {message[0].lower() + message[1:]}, got {value}"


def without_retired(tree: Mapping[str, Any]) -> dict[str, Any]:
    """Copy stored options without those of earlier versions (`RETIRED`)."""
    return {
        section: {key: value for key, value in part.items() if key not in RETIRED[section]}
        if section in RETIRED and isinstance(part, Mapping)
        else part
        for section, part in tree.items()
    }


def validate(
    config: type[C], tree: Mapping[str, Any], marks: Marks | None = None, source: str = "config"
) -> C:
    """Build `config` from plain containers; errors name `source` and the key path."""
    try:
        # Strict JSON mode: no "4" for 4, but lists for tuples.
        return config.model_validate_json(json.dumps(tree), strict=True)
    except ValidationError as error:
        raise UserError(_explain(error, config, marks or {}, source)) from None


def change(config: type[C], tree: Mapping[str, Any], overrides: Sequence[str], source: str) -> C:
    """Build `config` from a checkpoint's options with `section.key=value` texts applied to them.

    An error names the override, or the checkpoint `source`, and the key.
    """
    marks: Marks = {(): source}
    changed: dict[str, Any] = json.loads(json.dumps(without_retired(tree)))
    for override in overrides:
        _apply_override(changed, marks, override)
    return validate(config, changed, marks, source)


def load_config(
    path: str | Path, table: Mapping[str, type[Any]], overrides: Sequence[str] = ()
) -> Any:
    """Read a YAML file whose `family` names an entry of `table` into that entry's `Config`.

    `overrides` are `section.key=value` texts, the value in YAML; later ones win. An error is one
    line with file, line, key path and the nearest valid key.
    """
    path = Path(path)
    try:
        text = path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        reason = getattr(error, "strerror", None) or "not UTF-8 text"
        raise UserError(f"{path}: cannot read the config: {reason}") from None
    tree, marks = _parse(text, str(path))
    if not isinstance(tree, dict):
        raise UserError(f"{path}: a config is a mapping of sections, e.g. `family: cyclegan`")
    tree = without_retired(tree)
    for override in overrides:
        _apply_override(tree, marks, override)
    name = tree.get("family")
    if name is None:
        raise UserError(f"{path}: family: required, but not given; one of {', '.join(table)}")
    if not isinstance(name, str) or name not in table:
        near = difflib.get_close_matches(str(name), table, n=1)
        where = marks.get(("family",), str(path))
        hint = f"did you mean `{near[0]}`? " if near else ""
        raise UserError(f"{where}: family: unknown {name!r}; {hint}one of {', '.join(table)}")
    kind: type[NamedConfig] = table[name].Config
    tree.setdefault("name", f"{kind.folder or name}/{path.stem}")
    return validate(kind, tree, marks, str(path))


def dump_config(config: NamedConfig) -> str:
    """Return the fully resolved options as YAML, for the run folder."""
    return yaml.safe_dump(config.model_dump(mode="json"), sort_keys=False)


def _flat(tree: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    flat: dict[str, Any] = {}
    for key, value in tree.items():
        name = f"{prefix}{key}"
        flat |= _flat(value, f"{name}.") if isinstance(value, Mapping) else {name: value}
    return flat


def differing(now: Mapping[str, Any], then: Mapping[str, Any]) -> list[tuple[str, Any, Any]]:
    """Return (key, value now, value then) of options that both trees have and that differ."""
    new, old = _flat(now), _flat(then)
    return [(key, new[key], old[key]) for key in new if key in old and new[key] != old[key]]


_FIXED = ("family", "model.", "data.direction", "optim.optimizer", "train.seed")
"""Options, and sections, that a run keeps from its first step to its last."""


def refuse_fixed(config: NamedConfig, saved: Mapping[str, Any], source: object) -> None:
    """Refuse to go on from a checkpoint with another value of what a run keeps for good.

    `saved` are the checkpoint's options, `source` its file. Every other option takes effect from
    the resumed step on.
    """
    for key, now, then in differing(config.model_dump(mode="json"), saved):
        if key.startswith(_FIXED):
            raise UserError(
                f"{source}: saved with {key} = {then!r}, now {now!r}, which cannot take effect in "
                "a run that goes on; use the run's own value, or start a new run (with --init to "
                "begin it with these weights)"
            )
