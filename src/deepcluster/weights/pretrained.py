"""Networks of torchvision and timm with their trained weights, described as a card. Next: network.py builds it."""

from typing import Any

from torchvision import models

from deepcluster.models.resnet import PACKAGE
from deepcluster.system.extras import install_extra
from deepcluster.weights.released import IMAGE_SIZE, IMAGENET_MEAN, IMAGENET_STD, RESIZE


def pretrained_card(name: str, key: str) -> dict[str, Any]:
    """The card of a trained ResNet of torchvision, or of a trained model of timm.

    Args:
        key: where the name was set, for the message.

    Raises:
        ValueError: if neither has trained weights of that name.
    """
    card = {
        "in_channels": 3,
        "image_size": IMAGE_SIZE,
        "resize": RESIZE,
        "mean": IMAGENET_MEAN,
        "std": IMAGENET_STD,
    }
    resnets = [one for one in models.list_models() if models.get_model_builder(one).__module__ == PACKAGE]
    if name in resnets:
        arch = {"_target_": "deepcluster.models.resnet.resnet", "name": name, "weights": "DEFAULT"}
        return {**card, "arch": {**arch, "small_images": False}}
    try:
        import timm
    except ImportError as error:
        raise ValueError(
            f"{key}={name} is not a ResNet of torchvision, which has {', '.join(resnets)}; models of timm need it: "
            f"{install_extra('timm')}"
        ) from error
    if not timm.is_model_pretrained(name):
        raise ValueError(
            f"{key}={name} is neither a ResNet of torchvision, which has {', '.join(resnets)}, nor a model of timm "
            "with trained weights"
        )
    trained = timm.models.get_pretrained_cfg(name)
    side = trained.input_size[-1]
    return {
        **card,
        "arch": {"_target_": "deepcluster.models.timm_model.timm_backbone", "name": name, "pretrained": True},
        "image_size": side,
        "resize": round(side / trained.crop_pct),
        "mean": list(trained.mean),
        "std": list(trained.std),
    }
