"""Which modules belong to which stage: to keep first stages fixed, or to let them learn more slowly."""

from collections.abc import Sequence

from torch import nn

from deepcluster.models.backbone import Backbone

NECK = "neck"


def stage_modules(backbone: Backbone) -> dict[str, list[nn.Module]]:
    """The modules of each stage in order, with those that lead to it; under "neck" those behind the last stage."""
    modules = list(backbone.features.named_modules())
    owned: dict[str, list[nn.Module]] = {}
    begin = 0
    for stage in backbone.stages:
        path = f"{backbone.stage_path(stage)}."
        end = 1 + max((i for i, (name, _) in enumerate(modules) if f"{name}.".startswith(path)), default=begin - 1)
        owned[stage] = [module for _, module in modules[begin:end]]
        begin = max(begin, end)
    owned[NECK] = [*(module for _, module in modules[begin:]), *backbone.neck.modules()]
    return owned


def names_of_frozen(backbone: Backbone, frozen: int | Sequence[str]) -> list[str]:
    """The stages that `optimizer.frozen_stages` means.

    Raises:
        ValueError: if the network has no such stage, or fewer of them.
    """
    known = f"this network has {', '.join(backbone.stages) or 'no stages'}"
    if isinstance(frozen, int):
        if frozen > len(backbone.stages):
            raise ValueError(f"optimizer.frozen_stages={frozen} must be at most {len(backbone.stages)}: {known}")
        return backbone.stages[:frozen]
    for name in frozen:
        if name not in backbone.stages:
            raise ValueError(f"optimizer.frozen_stages={list(frozen)}: there is no stage {name}; {known}")
    return list(frozen)


def freeze(backbone: Backbone, stages: Sequence[str]) -> None:
    """Take the weights of these stages out of training and set their modules, BatchNorm among them, to eval mode."""
    owned = stage_modules(backbone) if stages else {}
    for module in (module for stage in stages for module in owned[stage]):
        module.training = False  # of this module alone: a network's root belongs to its first stage
        for weight in module.parameters(recurse=False):
            weight.requires_grad_(False)
