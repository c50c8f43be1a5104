"""Callbacks that Hydra runs between the jobs of a sweep."""

from typing import Any

from hydra.core.utils import JobReturn
from hydra.experimental.callback import Callback
from omegaconf import DictConfig


class Forget(Callback):
    """Drop a job's configuration when the job ends.

    Hydra keeps the configurations, 0.15 MB each, to the end of the sweep, and nothing reads them.
    """

    def on_job_end(self, config: DictConfig, job_return: JobReturn, **_: Any) -> None:
        job_return.cfg = job_return.hydra_cfg = None
