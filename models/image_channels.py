"""The first convolution of a file for RGB images, adapted to grey images or to more channels."""

from collections.abc import Mapping

from torch import Tensor, nn

RGB = 3


def adapt_channels(
    model: nn.Module, tensors: Mapping[str, Tensor]
) -> tuple[dict[str, Tensor], str | None]:
    """`tensors` for the images that `model` takes, and what was changed, in words.

    The arithmetic is that of timm's adapt_input_conv: grey weights are the sum over RGB; for other
    channels the RGB weights are repeated and scaled by 3/channels. So an image of equal channels
    gives what the grey image gave in RGB.
    """
    first = next(((n, m) for n, m in model.named_modules() if isinstance(m, nn.Conv2d)), None)
    key = f"{first[0]}.weight" if first else ""
    weight, channels = tensors.get(key), first[1].in_channels if first else RGB
    if weight is None or weight.ndim != 4 or weight.shape[1] != RGB or channels == RGB:
        return dict(tensors), None
    if channels == 1:
        adapted, how = weight.sum(1, keepdim=True), "summed over RGB, for grey images"
    else:
        repeated = weight.repeat(1, -(-channels // RGB), 1, 1)[:, :channels]
        adapted, how = repeated * (RGB / channels), f"repeated for {channels} channels and scaled"
    return dict(tensors) | {key: adapted.to(weight.dtype)}, f"{key}: {how}"
