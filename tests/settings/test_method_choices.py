"""Every combination of the choices of a method is accepted, or refused in one sentence that names a way out."""

import itertools

import pytest

from deepcluster.clustering.kmeans import KMeans
from deepcluster.clustering.method import Clustering
from deepcluster.clustering.pic import PIC
from deepcluster.clustering.reduction import Reduction
from deepcluster.clustering.sinkhorn_clustering import Sinkhorn
from deepcluster.clustering.spectral import Spectral
from deepcluster.data.sampler import Sampler
from deepcluster.data.view_settings import SmallCrops, View
from deepcluster.features.other_rows import OtherRows, UsedRows
from deepcluster.features.rows import ROWS, Rows
from deepcluster.settings.combinations import check_method
from deepcluster.training.embedding import Embedding, MLPEmbedding
from deepcluster.training.head_settings import CentroidSettings, HeadSettings, LinearSettings, PrototypeSettings
from deepcluster.training.optimizer import AdamWSettings, LARSSettings, SGDSettings
from deepcluster.training.target_settings import LookupSettings, SinkhornSettings, TargetSettings

CHOICES = {
    "embedding": [Embedding(), MLPEmbedding()],
    "rows": [Rows(of=of) for of in ROWS],
    "other_rows": [OtherRows(), UsedRows(kind="toy"), UsedRows(kind="toy", reassignments=0, n_beside=1)],
    "reduction": [Reduction(), Reduction(dim=None, whiten=False)],
    "clustering": [KMeans(), KMeans(match=True, n_labelings=2), KMeans(empty="squeeze"), PIC(), Sinkhorn()],
    "head": [LinearSettings(), LinearSettings(redraw=False), CentroidSettings(), PrototypeSettings()],
    "targets": [
        LookupSettings(),
        SinkhornSettings(),
        LookupSettings(softness=0.1),
        LookupSettings(co_teaching=True, kept_share=0.8),
    ],
    "sampler": [Sampler(), Sampler(kind="proportional"), Sampler(kind="official")],
    "view": [View(), View(n_large=2)],
    "optimizer": [SGDSettings(), LARSSettings()],
}
DEEPCLUSTER = {name: choices[0] for name, choices in CHOICES.items()}
SOFT, CO_TEACHING = LookupSettings(softness=0.1), LookupSettings(co_teaching=True, kept_share=0.8)
V2 = {
    **DEEPCLUSTER,
    "embedding": MLPEmbedding(),
    "rows": Rows(of="bank"),
    "reduction": Reduction(dim=None, whiten=False),
    "head": CentroidSettings(),
    "view": View(n_large=2),
}
SELA = {**DEEPCLUSTER, "rows": Rows(of="scores"), "clustering": Sinkhorn(), "head": LinearSettings(redraw=False)}
SWAV = {
    **DEEPCLUSTER,
    "embedding": MLPEmbedding(),
    "head": PrototypeSettings(),
    "targets": SinkhornSettings(),
    "sampler": Sampler(kind="proportional"),
    "view": View(n_large=2),
}


@pytest.mark.parametrize("method", [DEEPCLUSTER, V2, SELA, SWAV], ids=["deepcluster", "v2", "sela", "swav"])
def test_each_method_stands_and_so_do_most_changes_of_one_cell(method: dict[str, object]) -> None:
    check_method(**method)  # type: ignore[arg-type]
    accepted, refusals = 0, []
    for name, choices in CHOICES.items():
        for choice in choices:
            try:
                check_method(**{**method, name: choice})  # type: ignore[arg-type]
                accepted += 1
            except ValueError as error:
                refusals.append(str(error))
    assert accepted >= 15 and all(said.count("\n") == 0 and "set " in said for said in refusals), refusals


def test_every_combination_is_answered() -> None:
    n_accepted, refusals = 0, set()
    for chosen in itertools.product(*CHOICES.values()):
        try:
            check_method(**dict(zip(CHOICES, chosen, strict=True)))  # type: ignore[arg-type]
            n_accepted += 1
        except ValueError as error:
            refusals.add(str(error))
    assert n_accepted > 500 and 10 < len([said for said in refusals if "mode=official" not in said]) < 200
    assert not [said for said in refusals if "set " not in said and "leave" not in said]


REFUSED: list[tuple[dict[str, object], str]] = [
    ({**SWAV, "view": View()}, r"view\.n_large=1 .* set view\.n_large=2"),
    ({**SWAV, "sampler": Sampler()}, "sampler=uniform .* set sampler=proportional"),
    ({**SWAV, "head": LinearSettings()}, "head=linear .* set head=prototypes"),
    ({**SWAV, "other_rows": UsedRows(kind="coates")}, r"other_rows\.n_beside=1"),
    (
        {**DEEPCLUSTER, "clustering": PIC(), "other_rows": UsedRows(kind="coates", n_neighbours=5)},
        r"other_rows\.n_neighbours=5 .* set other_rows\.n_neighbours=null",
    ),
    ({**V2, "reduction": Reduction()}, r"reduction\.dim=64.* set reduction=none"),
    ({**V2, "rows": Rows()}, r"rows\.of=features .* set rows=bank"),
    ({**V2, "clustering": PIC()}, "clustering=pic .* set clustering=kmeans_v2"),
    ({**DEEPCLUSTER, "head": LinearSettings(redraw=False)}, r"set clustering\.match=true"),
    ({**DEEPCLUSTER, "head": PrototypeSettings()}, r"head=prototypes keeps .* set clustering\.match=true"),
    ({**DEEPCLUSTER, "clustering": Sinkhorn()}, "rows=scores"),
    ({**SELA, "head": LinearSettings()}, r"set head\.redraw=false"),
    ({**DEEPCLUSTER, "targets": SOFT, "clustering": PIC()}, "clustering=pic are not .* set targets.softness=0"),
    ({**SELA, "targets": SOFT}, "clustering=sinkhorn are not"),
    (
        {**DEEPCLUSTER, "targets": SOFT, "other_rows": UsedRows(kind="toy", n_neighbours=5)},
        r"other_rows\.n_neighbours=5 makes labels by a graph; set other_rows\.n_neighbours=null",
    ),
    ({**DEEPCLUSTER, "targets": SOFT, "clustering": KMeans(sizes="balanced")}, "clustering.sizes=balanced"),
    ({**DEEPCLUSTER, "targets": LookupSettings(co_teaching=True)}, "set targets.kept_share"),
    ({**V2, "targets": CO_TEACHING}, "set head=linear"),
    (
        {**DEEPCLUSTER, "targets": CO_TEACHING, "other_rows": UsedRows(kind="toy", reassignments=0, n_beside=1)},
        r"set other_rows\.n_beside=0",
    ),
]


@pytest.mark.parametrize(("method", "message"), REFUSED)
def test_what_cannot_go_together_is_refused_with_the_way_out(method: dict[str, object], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        check_method(**method)  # type: ignore[arg-type]


OFFICIAL = {**DEEPCLUSTER, "sampler": Sampler(kind="official")}


@pytest.mark.parametrize(
    ("cell", "named"),
    [
        ({"view": View(n_large=2)}, r"view\.n_large=2"),
        ({"view": View(small=SmallCrops(n=1))}, r"view\.small\.n=1"),
        ({"embedding": MLPEmbedding(), "rows": Rows(of="bank")}, "embedding=mlp, rows=bank"),
        ({"other_rows": UsedRows(kind="coates")}, "other_rows=coates"),
        ({"clustering": Spectral()}, "clustering=spectral"),
        ({"clustering": KMeans(k=[5, 6], spherical=True)}, r"2 labelings, clustering\.spherical=true"),
        ({"clustering": KMeans(match=True), "head": LinearSettings(redraw=False)}, r"head\.redraw=false, .*match=true"),
        (
            {"clustering": KMeans(start="labels", sizes="balanced")},
            r"clustering\.start=labels, clustering\.sizes=balanced",
        ),
        ({"clustering": KMeans(empty="keep")}, r"clustering\.empty=keep"),
        ({"targets": LookupSettings(label_smoothing=0.1)}, r"targets\.label_smoothing=0\.1"),
        ({"targets": CO_TEACHING}, r"targets\.kept_share=0\.8, targets\.co_teaching=true"),
        ({"head": PrototypeSettings(), "targets": SinkhornSettings()}, "head=prototypes, targets=sinkhorn"),
        ({"optimizer": LARSSettings()}, "optimizer=lars"),
        ({"optimizer": AdamWSettings()}, "optimizer=adamw"),
        ({"optimizer": SGDSettings(layer_decay=0.5)}, r"optimizer\.layer_decay=0\.5"),
        ({"optimizer": SGDSettings(frozen_stages=2)}, r"optimizer\.frozen_stages=2"),
    ],
)
def test_the_official_mode_refuses_what_2018_had_not_by_its_key(cell: dict[str, object], named: str) -> None:
    with pytest.raises(ValueError, match=f"which had no {named}; leave mode=official out, or set method=deepcluster"):
        check_method(**{**OFFICIAL, **cell})  # type: ignore[arg-type]


def test_the_official_mode_takes_every_number_of_2018s_own_parts() -> None:
    for clustering in (KMeans(k=70, n_iter=3, n_redo=2, empty="squeeze"), PIC()):
        optimizer = SGDSettings(lr=0.1, schedule="cosine", warmup_epochs=1)
        check_method(**{**OFFICIAL, "clustering": clustering, "optimizer": optimizer})  # type: ignore[arg-type]


def test_the_clusterings_tell_whether_they_need_scores() -> None:
    kinds: list[Clustering] = [KMeans(), PIC(), Sinkhorn(k=[20, 30])]
    assert [kind.needs_scores for kind in kinds] == [False, False, True]
    assert kinds[2].of_features() == KMeans(k=20) and kinds[0].of_features() is kinds[0]


def test_heads_and_targets_are_of_their_kinds() -> None:
    heads: list[HeadSettings] = [LinearSettings(), CentroidSettings(), PrototypeSettings()]
    targets: list[TargetSettings] = [LookupSettings(), SinkhornSettings()]
    assert [head.kind for head in heads] == ["linear", "centroids", "prototypes"]
    assert [one.needs_labels for one in targets] == [True, False]
