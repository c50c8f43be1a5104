"""Runs over several seeds -> TensorBoard: one TensorBoard run per table row, with mean and band.

`tensorboard --logdir OUT` shows the means under "Scalars", and each row with its band, mean ± std,
under "Custom Scalars". This file does not import torch.
"""

import math
import time
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

from tensorboard.compat.proto.event_pb2 import Event, SessionLog
from tensorboard.compat.proto.summary_pb2 import Summary, SummaryMetadata
from tensorboard.compat.proto.tensor_pb2 import TensorProto
from tensorboard.plugins.custom_scalar import layout_pb2 as custom
from tensorboard.summary.writer.event_file_writer import EventFileWriter

from report.curves import Curve, curves, rows

SUFFIX = ".mean"  # of the event files that this file writes and replaces
NOT_METRICS = ("epoch", "train.lr")  # other fields of metrics.jsonl
CONFIG = "custom_scalars__config__"  # tag that the Custom Scalars plugin reads


def write_board(table: Mapping[str, Sequence[Path]], out: Path) -> None:
    """Write OUT/<row>/mean for each row of `table` (row name -> folders of its runs).

    Files of an earlier call below `out` are replaced. Other files stay. ValueError if a row name
    is not a folder name.
    """
    for name in table:
        if name != Path(name).name or name in ("", ".."):
            raise ValueError(f"row '{name}' cannot be the name of a folder")
    for stale in out.glob(f"*/mean/events.out.tfevents.*{SUFFIX}"):
        stale.unlink(missing_ok=True)  # another command may write the same table
    for name, folders in table.items():
        keys = dict.fromkeys(key for folder in folders for row in rows(folder) for key in row)
        found = {key: curves(folders, key) for key in keys if key not in NOT_METRICS}
        if found:
            _write(out / name / "mean", found, folders)


def _write(folder: Path, found: Mapping[str, Curve], runs: Iterable[Path]) -> None:
    writer = EventFileWriter(str(folder), filename_suffix=SUFFIX)
    # START makes a running TensorBoard drop the points of the replaced file.
    writer.add_event(Event(step=0, session_log=SessionLog(status=SessionLog.START)))
    seeds = "\n".join(f"- {run}" for run in runs)
    count = max(curve.n for curve in found.values())
    _add(writer, 0, _encoded("seeds", "text", f"mean of {count} runs\n\n{seeds}".encode()))
    _add(writer, 0, _encoded(CONFIG, "custom_scalars", _layout(found).SerializeToString()))
    for key, curve in found.items():
        tag = key.replace(".", "/")
        for epoch, mean, std in zip(curve.epochs, curve.mean, curve.std, strict=True):
            spread = 0.0 if math.isnan(std) else std
            points = zip((tag, *_band(tag)), (mean, mean - spread, mean + spread), strict=True)
            _add(writer, epoch, *(Summary.Value(tag=t, simple_value=v) for t, v in points))
    writer.close()


def _band(tag: str) -> tuple[str, str]:
    return f"within_std/{tag}/lower", f"within_std/{tag}/upper"  # sorts after train and val


def _layout(keys: Iterable[str]) -> custom.Layout:
    """For each metric one chart with bands and one chart with the means alone."""
    bands, means = [], []
    for key in keys:
        tag, title = key.replace(".", "/"), key.replace(".", " ")
        lower, upper = _band(tag)
        series = custom.MarginChartContent.Series(value=tag, lower=lower, upper=upper)
        margin = custom.MarginChartContent(series=[series])
        bands.append(custom.Chart(title=title, margin=margin))
        lines = custom.MultilineChartContent(tag=[f"{tag}$"])
        means.append(custom.Chart(title=title, multiline=lines))
    return custom.Layout(
        category=[
            custom.Category(title="mean ± std over seeds", chart=bands),
            custom.Category(title="means", chart=means, closed=True),
        ]
    )


def _encoded(tag: str, plugin: str, content: bytes) -> Summary.Value:
    """`content` as a value that the TensorBoard plugin `plugin` reads."""
    metadata = SummaryMetadata(plugin_data=SummaryMetadata.PluginData(plugin_name=plugin))
    tensor = TensorProto(dtype="DT_STRING", string_val=[content])
    return Summary.Value(tag=tag, metadata=metadata, tensor=tensor)


def _add(writer: EventFileWriter, step: int, *values: Summary.Value) -> None:
    writer.add_event(Event(wall_time=time.time(), step=step, summary=Summary(value=values)))
