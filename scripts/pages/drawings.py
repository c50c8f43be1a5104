"""A drawing of each slot: the boxes of a residual block, or of a network, in a row."""

from collections.abc import Sequence

SITES = ("prenorm", "inner", "branch", "identity", "post", "stage", "head")
BLOCK = (
    "1x1", "norm", "ReLU", "3x3", "prenorm", "norm", "ReLU", "inner", "1x1", "norm", "branch",
    "+", "ReLU", "post",
)  # fmt: skip
NETWORK = (
    "stem", "stage 1", "stage", "stage 2", "stage", "stage 3", "stage", "stage 4", "head", "pool",
    "linear",
)  # fmt: skip
REPLACED = {"fusion": "+", "conv": "3x3", "norm": "norm"}  # slot -> the layer that it stands for
SLOTS = (*SITES, *REPLACED)

MIDDLE, LOW, HEIGHT, GAP, LETTER = 30, 80, 28, 14, 7.5  # pixels
PLAIN, CHOSEN = 'fill="#fff" stroke="#555"', 'fill="#ffd9a8" stroke="#c05a00"'


def draw(slot: str) -> str:
    """An SVG in which the box of `slot` has another colour; the shortcut runs below the block."""
    row = NETWORK if slot in ("stage", "head") else BLOCK
    labels = [label for label in row if label not in SITES or label == slot]
    chosen = {slot, REPLACED.get(slot)}
    parts, centres, x = [], [], 2 * GAP
    for label in labels:
        text = "attention" if label in SITES else label
        width = LETTER * len(text) + 2 * GAP
        parts += _box(x, MIDDLE, width, text, label in chosen)
        centres.append(x + width / 2)
        x += width + GAP
    lines = [_line(f"M 0 {MIDDLE} H {x + GAP:g}")]
    if row is BLOCK:
        end = centres[labels.index("+")]
        lines.append(_line(f"M {GAP} {MIDDLE} V {LOW} H {end:g} V {MIDDLE}"))
        if slot == "identity":
            parts += _box((GAP + end) / 2 - 45, LOW, 90, "attention", True)
    return _svg(x + GAP, LOW + 24 if row is BLOCK else 2 * MIDDLE, [*lines, *parts])


def _box(x: float, y: float, width: float, text: str, chosen: bool) -> list[str]:
    colours = CHOSEN if chosen else PLAIN
    return [
        f'<rect x="{x:g}" y="{y - HEIGHT / 2:g}" width="{width:g}" height="{HEIGHT}" rx="5" '
        f"{colours}/>",
        f'<text x="{x + width / 2:g}" y="{y + 4:g}" text-anchor="middle">{text}</text>',
    ]


def _line(path: str) -> str:
    return f'<path d="{path}" fill="none" stroke="#555"/>'


def _svg(width: float, height: float, parts: Sequence[str]) -> str:
    head = (
        f'<svg xmlns="http://www.w3.org/2000/svg" width="{width:g}" height="{height:g}" '
        f'viewBox="0 0 {width:g} {height:g}" font-family="sans-serif" font-size="13">'
    )
    ground = '<rect width="100%" height="100%" fill="#fff"/>'
    return "\n".join([head, ground, *parts, "</svg>", ""])
