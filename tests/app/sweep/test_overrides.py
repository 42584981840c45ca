"""From the overrides of a sweep to those of its jobs."""

from omegaconf import OmegaConf

from deepcluster.app.sweep.overrides import candidate_jobs, expand_jobs, sweep_keys_of_swept_groups, sweep_overrides


def test_a_key_of_a_group_that_is_swept_is_left_to_the_jobs() -> None:
    typed = ["ckpt=runs/a", "evaluation=knn,voc07", "evaluation.k=[5,10]", "data.limit=9", "--cfg", "job"]
    left = sweep_keys_of_swept_groups(typed)
    assert left == ["ckpt=runs/a", "evaluation=knn,voc07", "evaluation.k=choice([5,10])", *typed[3:]]
    jobs = expand_jobs(left[:4])
    assert jobs == [
        ["ckpt=runs/a", f"evaluation={name}", "evaluation.k=[5,10]", "data.limit=9"] for name in ("knn", "voc07")
    ]


def test_words_stay_where_no_group_is_swept_or_one_cannot_be_read() -> None:
    for typed in (["evaluation=knn", "evaluation.k=5,10", "evaluation.n=1"], ["a=1,2", "a.b=(", "a.c=1"]):
        assert sweep_keys_of_swept_groups(typed) == typed


def test_a_search_is_checked_at_each_value_and_at_the_ends_of_intervals() -> None:
    typed = ["k=tag(log, int(interval(10,50)))", "dim=8,16,32", "seed=1"]
    assert candidate_jobs(typed) == [
        ["k=10", "dim=8", "seed=1"],
        ["k=50", "dim=8", "seed=1"],
        ["k=10", "dim=16", "seed=1"],
        ["k=10", "dim=32", "seed=1"],
    ]


def test_what_is_typed_takes_the_place_of_what_a_file_gives() -> None:
    hydra = OmegaConf.create({"sweeper": {"params": {"k": "1,2", "dim": "8,9"}}, "overrides": {"task": ["k=7"]}})
    assert expand_jobs(sweep_overrides(hydra)) == [["k=7", "dim=8"], ["k=7", "dim=9"]]
