"""Any timm model as a backbone, if timm is installed. Next: head.py."""

from collections import OrderedDict
from collections.abc import Callable, Mapping
from typing import Any

from torch import Tensor, nn

from deepcluster.models.backbone import FEATURES, Backbone, pool_maps


class TimmBackbone(Backbone):
    """A timm model without its classifier: one child of `features`; timm itself gives the stages."""

    def stage_path(self, name: str) -> str:
        return f"model.{name}"

    def stage(self, images: Tensor, name: str) -> Tensor:
        self.check_stage(name)
        return self.as_float32(self._maps(images, self.stages.index(name)))

    def taps(self, images: Tensor, reads: Mapping[str, Callable[[Tensor], Tensor]]) -> dict[str, Tensor]:
        tapped: dict[str, Tensor] = {}
        stages = [name for name in reads if name != FEATURES]
        for name in stages:
            self.check_stage(name)
        if stages:
            maps = self._intermediates(images, sorted(self.stages.index(name) for name in stages))
            tapped = {name: reads[name](self.as_float32(one)) for name, one in maps.items()}
        if FEATURES in reads:
            tapped[FEATURES] = reads[FEATURES](self(images))
        return {name: tapped[name] for name in reads}

    def convolutional(self, images: Tensor) -> Tensor:
        if not self.stages:
            return self(images)  # type: ignore[no-any-return]  # a model without maps: its features
        return self.as_float32(pool_maps(self._maps(images, len(self.stages) - 1)).flatten(1))

    def _maps(self, images: Tensor, index: int) -> Tensor:
        return self._intermediates(images, [index])[self.stages[index]]

    def _intermediates(self, images: Tensor, indices: list[int]) -> dict[str, Tensor]:
        """Maps by stage.

        Args:
            indices: of stages, ascending: timm returns the maps in this order.
        """
        model: Any = self.features.model
        maps: list[Tensor] = model.forward_intermediates(
            self.input_maps(images), indices=indices, intermediates_only=True, output_fmt="NCHW"
        )
        return {self.stages[index]: one for index, one in zip(indices, maps, strict=True)}


def timm_backbone(
    name: str,
    in_channels: int = 3,
    image_size: int = 224,
    sobel: bool | str = False,
    pretrained: bool = False,
) -> TimmBackbone:
    """A timm model as a backbone; the features are what its classifier would read.

    Args:
        name: a model name of timm, such as convnext_atto or vit_tiny_patch16_224.
        in_channels: channels of the images.
        image_size: height and width of the images, for models that are built for one size.
        sobel: the network sees edges instead of colours.
        pretrained: timm's trained weights, downloaded if needed.

    Raises:
        ImportError: if timm is not installed.
        ValueError: if it has no such model.
    """
    try:
        import timm
    except ImportError as error:
        raise ImportError("arch=timm needs timm: pip install timm") from error

    if not timm.is_model(name):
        near = timm.list_models(f"*{name.split('_')[0]}*")[:10]
        raise ValueError(f"arch.name={name} is not a model of timm; similar names: {', '.join(near) or 'none'}")
    options: dict[str, Any] = {}
    if timm.models.get_pretrained_cfg(name).fixed_input_size:
        options["img_size"] = image_size
    model = timm.create_model(
        name, pretrained=pretrained, num_classes=0, in_chans=2 if sobel else in_channels, **options
    )
    has_maps = hasattr(model, "forward_intermediates") and hasattr(model, "feature_info")
    stages = [str(info["module"]) for info in model.feature_info] if has_maps else []
    # some models have one more layer before the classifier: num_features is its input, head_hidden_size its output
    feature_dim = int(getattr(model, "head_hidden_size", model.num_features))
    return TimmBackbone(
        features=nn.Sequential(OrderedDict(model=model)),
        neck=nn.Sequential(),
        feature_dim=feature_dim,
        stages=stages,
        in_channels=in_channels,
        image_size=image_size,
        sobel=sobel,
    )
