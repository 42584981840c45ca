"""What is typed for a sweep and what its jobs are told."""

from deepcluster.command_line import expand, left_to_jobs


def test_a_key_of_a_group_that_is_swept_is_left_to_the_jobs() -> None:
    typed = ["ckpt=runs/a", "evaluation=knn,voc07", "evaluation.k=[5,10]", "data.limit=9", "--cfg", "job"]
    left = left_to_jobs(typed)
    assert left == ["ckpt=runs/a", "evaluation=knn,voc07", "evaluation.k=choice([5,10])", *typed[3:]]
    jobs = expand(left[:4])
    assert jobs == [
        ["ckpt=runs/a", f"evaluation={name}", "evaluation.k=[5,10]", "data.limit=9"] for name in ("knn", "voc07")
    ]


def test_words_stay_where_no_group_is_swept_or_one_cannot_be_read() -> None:
    for typed in (["evaluation=knn", "evaluation.k=5,10", "evaluation.n=1"], ["a=1,2", "a.b=(", "a.c=1"]):
        assert left_to_jobs(typed) == typed
