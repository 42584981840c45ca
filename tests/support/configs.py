"""Where the configs lie, and what some options need beside themselves."""

from pathlib import Path

REPOSITORY = Path(__file__).parents[2]
CONFIGS = REPOSITORY / "configs"
NEEDS = {  # what an option cannot do without
    "data=folder": ["data.root=images"],
    "data=parquet": ["data.root=tables"],
    "data=huggingface": ["data.root=tables"],
    "data=litdata": ["data.root=chunks"],
    "data=imagenet": ["data.root=images"],
    "data=places365": ["data.root=images"],
    "data=yfcc": ["data.root=images"],
    "arch=timm": ["arch.name=resnet10t"],
    "clustering=sinkhorn": ["rows=scores", "head=linear_kept"],
    "rows=scores": ["clustering=sinkhorn", "head=linear_kept"],
    "head=centroids": ["reduction=none"],
    "head=linear_kept": ["clustering.match=true"],
    "head=prototypes": ["targets=sinkhorn", "sampler=proportional", "view.n_large=2"],
    "targets=sinkhorn": ["head=prototypes", "sampler=proportional", "view.n_large=2"],
    "other_rows=network": ["other_rows.path=run"],
    "other_rows=file": ["other_rows.path=rows.npy"],
    "init=checkpoint": ["init.path=run"],
    "init=weights": ["init.path=file"],
    "experiment=cifar10_parquet": ["data.root=tables"],
    "experiment=photographs": ["data.root=images"],
    "experiment=photographs_224": ["data.root=images"],
    "experiment=alexnet_imagenet": ["data.root=images"],
    "experiment=vgg16_imagenet": ["data.root=images"],
}
