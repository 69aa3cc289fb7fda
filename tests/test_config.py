"""Config files: what is read, and that every mistake is one line with file, key and way out."""

from __future__ import annotations

from pathlib import Path

import pytest
import yaml
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from core.config import dump_config, load_config
from core.errors import UserError
from core.options import RunConfig
from tests.small import TABLE

FAMILIES = f"one of {', '.join(TABLE)}"
GOOD = """\
family: cyclegan
data:
  root: somewhere
optim:
  lr: 1e-4
"""


def load(folder: Path, text: str, *overrides: str) -> RunConfig:
    path = folder / "run.yaml"
    path.write_text(text, encoding="utf-8")
    return load_config(path, TABLE, overrides)


def refusal(folder: Path, text: str, *overrides: str) -> str:
    with pytest.raises(UserError) as caught:
        load(folder, text, *overrides)
    message = str(caught.value)
    assert len(message.splitlines()) == 1
    return message


def test_defaults_deviations_and_name(tmp_path: Path) -> None:
    config = load(tmp_path, GOOD)
    assert config.name == "cyclegan/run"
    assert config.optim.lr == 1e-4
    assert config.optim.beta1 == 0.5
    assert type(config) is TABLE["cyclegan"].Config


@pytest.mark.parametrize(
    ("text", "value"), [("1e-4", 1e-4), ("2E-3", 2e-3), ("1.5e-4", 1.5e-4), (".5", 0.5), ("1", 1.0)]
)
def test_numbers_that_yaml_reads_as_text(tmp_path: Path, text: str, value: float) -> None:
    assert load(tmp_path, GOOD.replace("1e-4", text)).optim.lr == value
    assert load(tmp_path, GOOD, f"optim.lr={text}").optim.lr == value


def test_words_stay_words(tmp_path: Path) -> None:
    assert load(tmp_path, GOOD + "name: on\n").name == "on"
    assert load(tmp_path, GOOD + "name: 2020-07-19\n").name == "2020-07-19"


def test_overrides_in_every_form(tmp_path: Path) -> None:
    config = load(
        tmp_path,
        GOOD,
        "model.norm=batch",
        "model.dropout=true",
        "train.clip_grad_norm=null",
        "train.num_epochs=3",
        "train.num_epochs=4",
        "data.root=a=b",
    )
    assert config.model.norm == "batch"  # type: ignore[attr-defined]
    assert config.model.dropout is True  # type: ignore[attr-defined]
    assert config.train.clip_grad_norm is None
    assert config.train.num_epochs == 4
    assert config.data.root == "a=b"


def test_resolved_config_reads_back_equal(tmp_path: Path) -> None:
    config = load(tmp_path, GOOD, "optim.eps=1e-7")
    assert load(tmp_path, dump_config(config)) == config


def test_retired_option_is_read_from_a_run_folder_but_not_set(tmp_path: Path) -> None:
    stored = GOOD + "train: {joint_forward: false, seed: 3}\n"
    assert load(tmp_path, stored) == load(tmp_path, GOOD, "train.seed=3")
    message = refusal(tmp_path, GOOD, "train.joint_forward=true")
    assert "train.joint_forward: unknown key" in message


@pytest.mark.parametrize(
    ("text", "parts"),
    [
        (GOOD.replace("lr:", "lrr:"), ["run.yaml:5", "optim.lrr", "did you mean `lr`?"]),
        (GOOD.replace("data:", "dta:"), ["run.yaml:2", "dta", "did you mean `data`?"]),
        (GOOD.replace("1e-4", "fast"), ["run.yaml:5", "optim.lr", '"fast"']),
        (GOOD.replace("1e-4", "'1e-4'"), ["run.yaml:5", "optim.lr", '"1e-4"']),
        (GOOD.replace("1e-4", "-1"), ["run.yaml:5", "optim.lr", "greater than 0", "-1"]),
        (GOOD.replace("1e-4", ".inf"), ["run.yaml:5", "optim.lr", "finite"]),
        (GOOD.replace("1e-4", ".nan"), ["run.yaml:5", "optim.lr", "finite"]),
        (GOOD.replace("1e-4", "!!float x"), ["run.yaml", "not valid YAML"]),
        (GOOD.replace("somewhere", "!!binary aGk="), ["run.yaml:3", "data.root", "binary"]),
        (GOOD + "  lr: 1e-3\n", ["run.yaml:6", "optim.lr", "given twice", "run.yaml:5"]),
        (GOOD + "train: {num_epochs: 1.5}\n", ["run.yaml:6", "train.num_epochs", "1.5"]),
        (GOOD + "train: {num_epochs: true}\n", ["run.yaml:6", "train.num_epochs", "true"]),
        (GOOD + "model: {pool_size: -1}\n", ["run.yaml:6", "model.pool_size", "-1"]),
        (GOOD + "model: {norm: layer}\n", ["run.yaml:6", "model.norm", "'instance'", '"layer"']),
        (GOOD + "model: {output_nc: 1}\n", ["run.yaml:6", "model", "lambda_identity: 0"]),
        (GOOD + "train: 5\n", ["run.yaml:6", "train", "5"]),
        ("family: cyclegan\n", ["run.yaml", "data", "required"]),
        ("family: cyclegan\ndata: {}\n", ["run.yaml:2", "data.root", "required"]),
        ("family: cyclgan\n", ["run.yaml:1", "family", "did you mean `cyclegan`?"]),
        ("family: [cyclegan]\n", ["run.yaml:1", "family", FAMILIES]),
        ("data: {root: x}\n", ["run.yaml", "family: required", FAMILIES]),
        ("- family\n", ["run.yaml", "mapping of sections"]),
        ("", ["run.yaml", "mapping of sections"]),
        ("family: [\n", ["run.yaml:2", "not valid YAML"]),
        ("a: 1\n\tb: 2\n", ["run.yaml:2", "not valid YAML"]),
        ("a: &a [*a]\n", ["run.yaml", "not valid YAML", "in itself"]),
        ("? [a]\n: b\n", ["run.yaml", "not valid YAML"]),
    ],
)
def test_mistake_in_the_file(tmp_path: Path, text: str, parts: list[str]) -> None:
    message = refusal(tmp_path, text)
    assert all(part in message for part in parts), message


@pytest.mark.parametrize(
    ("override", "parts"),
    [
        ("optim.lrr=1", ["--set optim.lrr=1", "did you mean `lr`?"]),
        ("optim.lr", ["--set optim.lr", "section.key=value"]),
        ("optim..lr=1", ["section.key=value"]),
        ("=1", ["section.key=value"]),
        ("optim.lr=[", ["--set optim.lr=[", "not valid YAML"]),
        ("optim.lr=", ["--set optim.lr=", "null"]),
        ("optim.lr.x=1", ["optim.lr is a value, not a section"]),
        ("checkpoint.best=psnr_AtoB", ["--set checkpoint.best=psnr_AtoB", "evaluate.every"]),
        ("family=pix3pix", ["--set family=pix3pix", "did you mean `pix2pix`?"]),
    ],
)
def test_mistake_in_an_override(tmp_path: Path, override: str, parts: list[str]) -> None:
    message = refusal(tmp_path, GOOD, override)
    assert all(part in message for part in parts), message


def test_aliases_that_multiply_are_refused(tmp_path: Path) -> None:
    """Six levels of ten would be a million entries; plain anchors are fine."""
    levels = "\n".join(f"l{i}: &l{i} [{', '.join([f'*l{i - 1}'] * 10)}]" for i in range(1, 7))
    assert "aliases" in refusal(tmp_path, f"{GOOD}l0: &l0 x\n{levels}\n")
    assert load(tmp_path, GOOD.replace("somewhere", "&here somewhere")).data.root == "somewhere"


@pytest.mark.parametrize("name", ["../../x", "/x", "~x", "a/../b", "a/./b"])
def test_a_name_stays_below_its_folder(tmp_path: Path, name: str) -> None:
    assert "name: a name is a relative path" in refusal(tmp_path, GOOD, f"name={name}")


@pytest.mark.parametrize("seed", [-1, 2**63])
def test_seeds_that_torch_cannot_take(tmp_path: Path, seed: int) -> None:
    assert "train.seed" in refusal(tmp_path, GOOD, f"train.seed={seed}")


def test_unreadable_files(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="No such file"):
        load_config(tmp_path / "absent.yaml", TABLE)
    (tmp_path / "latin.yaml").write_bytes(b"name: \xe9\n")
    with pytest.raises(UserError, match="not UTF-8 text"):
        load_config(tmp_path / "latin.yaml", TABLE)


LEAVES = st.one_of(
    st.none(), st.booleans(), st.integers(), st.floats(), st.text("abc-1e.*&!{}[]: ", max_size=8)
)
KEYS = st.sampled_from(["family", "data", "root", "train", "optim", "lr", "model", "norm", "x"])
TREES = st.recursive(LEAVES, lambda t: st.lists(t) | st.dictionaries(KEYS, t), max_leaves=12)


@given(tree=st.dictionaries(KEYS, TREES), family=st.sampled_from(["cyclegan", "pix2pix"]))
@settings(
    max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
def test_any_tree_is_read_or_refused_in_one_line(
    tmp_path: Path, tree: dict[str, object], family: str
) -> None:
    try:
        load(tmp_path, yaml.safe_dump(tree | {"family": family}))
    except UserError as error:
        assert len(str(error).splitlines()) == 1


@given(text=st.text("ab:-[]{}&*!?|>#'\"%@`\n\t 01", max_size=24))
@settings(
    max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
def test_any_text_is_read_or_refused_in_one_line(tmp_path: Path, text: str) -> None:
    try:
        load(tmp_path, text)
    except UserError as error:
        assert len(str(error).splitlines()) == 1
