"""A setting's limits stand with its default, and a value beyond them is refused in one sentence."""

from dataclasses import dataclass, fields

import pytest
from omegaconf import OmegaConf

from deepcluster.system.quoting import with_home
from deepcluster.system.setting import MAY_CHANGE, check, setting


@dataclass(kw_only=True)
class Limited:
    count: int = setting(3, at_least=1, hint="1 is the least")
    rate: float = setting(0.1, above=0)
    share: float = setting(0.5, above=0, at_most=1)
    momentum: float = setting(0.9, at_least=0, below=1)
    most: int | None = setting(None, at_most=10)
    kind: str = setting("a", one_of=("a", "b"))
    scales: list[float] = setting([0.1, 1.0], above=0)
    any: float = setting(0.0)
    workers: int = setting(0, at_least=0, may_change=True)

    def __post_init__(self) -> None:
        check(self, "group")


@pytest.mark.parametrize(
    ("values", "told"),
    [
        ({"count": 0}, "group.count must be at least 1, got 0; 1 is the least"),
        ({"rate": 0.0}, "group.rate must be above 0, got 0.0"),
        ({"rate": float("nan")}, "group.rate must be above 0, got nan"),
        ({"rate": float("inf")}, "group.rate must be above 0, got inf"),
        ({"share": 1.5}, "group.share must be in (0, 1], got 1.5"),
        ({"momentum": 1.0}, "group.momentum must be in [0, 1), got 1.0"),
        ({"most": 11}, "group.most must be at most 10, got 11"),
        ({"kind": "c"}, "group.kind must be one of a, b, got 'c'"),
        ({"scales": [0.5, 0.0]}, "group.scales must be above 0, got [0.5, 0.0]"),
        ({"any": float("inf")}, "group.any must be a finite number, got inf"),
    ],
)
def test_a_value_beyond_its_limit_is_refused_with_key_limit_value_and_way_out(
    values: dict[str, object], told: str
) -> None:
    with pytest.raises(ValueError) as refusal:
        Limited(**values)  # type: ignore[arg-type]
    assert str(refusal.value) == told


def test_values_at_their_limits_and_null_pass() -> None:
    Limited(count=1, share=1.0, momentum=0.0, most=10, kind="b", scales=[1e-9])
    Limited(most=None)


def test_a_default_list_is_not_shared() -> None:
    first, second = Limited(), Limited()
    first.scales.append(2.0)
    assert second.scales == [0.1, 1.0]


def test_the_mark_for_resuming_is_read_from_the_field() -> None:
    assert [f.name for f in fields(Limited) if f.metadata.get(MAY_CHANGE)] == ["workers"]


def test_hydra_sees_the_same_types_and_defaults() -> None:
    node = OmegaConf.structured(Limited)
    assert (node.count, node.most, list(node.scales)) == (3, None, [0.1, 1.0])
    node.count = 0
    with pytest.raises(Exception, match=r"group\.count must be at least 1"):
        OmegaConf.to_object(node)


@dataclass(kw_only=True)
class Placed:
    root: str | None = setting(None, is_path=True)

    def __post_init__(self) -> None:
        check(self, "data")


def test_paths_begin_at_home_for_a_tilde_and_are_not_empty(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", "/home/ada")
    assert Placed(root="~/photos").root == "/home/ada/photos" and Placed(root="~").root == "/home/ada"
    assert [Placed(root=root).root for root in ("~nobody_here/x", "a~/b", "s3://b/c", None)] == [
        *("~nobody_here/x", "a~/b", "s3://b/c", None)
    ]
    for empty in ("", " "):
        with pytest.raises(ValueError, match=r"^data\.root is empty \(a shell variable that is not set\?\)"):
            Placed(root=empty)


def test_a_tilde_in_a_typed_word_is_the_home_folder_in_quotes(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", "/home/ada l.")
    home = '"/home/ada l.'
    words = ["data.root=~/my photos", "~data", "data.root=a~b", "seed=1", "data.root=~/a,~/b", "+x=~", "x=[~/a,b~,~]"]
    assert list(map(with_home, words)) == [
        'data.root="/home/ada l./my photos"',
        *words[1:5],
        '+x="/home/ada l."',
        f'x=[{home}/a",b~,{home}"]',
    ]
