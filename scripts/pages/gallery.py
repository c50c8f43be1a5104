"""The gallery: every mechanism with formula, paper, slot, options and cost, in Markdown."""

from collections.abc import Iterable, Mapping, Sequence

from report.formats.text import render
from scripts.pages.mechanisms import Documented, mechanisms

Costs = Mapping[str, Mapping[str, int]]  # name of the mechanism -> params, macs

HEAD = """\
# Gallery: every attention module

<!-- `python scripts/gallery.py` makes this page from the docstrings of attn/ and conf/attn. -->

`attn=NAME` trains a network with a module: `python train.py model=resnet50 attn=nam`. In your own
network, the same module is `attn.attach(model, attn.NAM)`. In the formulas x is the map
(N, C, H, W), σ the sigmoid, GAP the mean over the pixels, ⊙ the product with broadcasting, r the
reduction. X is the shortcut and Y is the residual branch. [Fidelity](fidelity.md) compares each
module with its authors' code; `python scripts/cite.py attn=nam` prints the BibTeX of its paper.

The costs are those of a ResNet-50 for CIFAR-100 (100 classes, 32x32 pixels), counted by
`python scripts/cost.py model=resnet50 attn=all`. MACs are multiply-accumulates of convolutions and
matrix products for one image.
"""
FIDELITY = "[fidelity](fidelity.md#differences-module-by-module)"
SUMMARY = ("attn=", "slot", "paper", "params", "+ %", "MACs", "+ %")
OPTIONS = ("option", "value in conf/attn", "meaning")


def page(costs: Costs) -> str:
    """The whole page; `costs` are those of a ResNet-50 with each mechanism, and with none."""
    found = mechanisms()
    parts = [HEAD, _summary(found, costs)]
    for file in dict.fromkeys(one.file for one in found):
        parts += _file([one for one in found if one.file == file], costs)
    return "\n".join(parts)


def _summary(found: Iterable[Documented], costs: Costs) -> str:
    rows = [("none", "", "the plain network", *_cost("none", costs))]
    for one in found:
        paper = f"[{one.authors}]({one.link})" if one.link else "control"
        slots = ", ".join(one.slots)
        rows.append((f"[{one.name}](#{one.name})", slots, paper, *_cost(one.name, costs)))
    return render(SUMMARY, rows) + "\n"


def _file(found: Sequence[Documented], costs: Costs) -> Iterable[str]:
    """The paper, the notes of the file and the drawing; then each mechanism of the file."""
    first = found[0]
    yield f"## {first.paper}\n"
    if first.link:
        yield f"Paper: <{first.link}>. Measured against the authors' code: {FIDELITY}.\n"
    yield first.notes + "\n"
    for slot in dict.fromkeys(slot for one in found for slot in one.slots):
        yield f"![The slot {slot}](slots/{slot}.svg)\n"
    for one in found:
        yield _mechanism(one, costs)


def _mechanism(one: Documented, costs: Costs) -> str:
    params, more_params, macs, more_macs = _cost(one.name, costs)
    parts = [
        f"### {one.name}",
        f"```text\n{one.formula}\n```",
        one.remarks,
        f"Source: `{one.file.replace('.', '/')}.py`. Slot: {', '.join(one.slots)}. In ResNet-50: "
        f"{params} parameters ({more_params} %), {macs} MACs ({more_macs} %).",
    ]
    if one.options:
        rows = [(f"`attn.{o.name}`", f"`{o.value}`", o.meaning) for o in one.options]
        parts.append(render(OPTIONS, rows))
    return "\n\n".join(part for part in parts if part) + "\n"


def _cost(name: str, costs: Costs) -> tuple[str, str, str, str]:
    """Parameters and MACs, each with what the mechanism adds in per cent."""
    here, plain = costs[name], costs["none"]
    more = (f"{100 * (here[key] / plain[key] - 1):+.2f}" for key in ("params", "macs"))
    more_params, more_macs = ("", "") if name == "none" else more
    return f"{here['params']:,}", more_params, f"{here['macs'] / 1e6:,.1f} M", more_macs
