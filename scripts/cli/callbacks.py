"""What Hydra calls between the jobs of a sweep."""

from typing import Any

from hydra.core.utils import JobReturn
from hydra.experimental.callback import Callback
from omegaconf import DictConfig


class Forget(Callback):
    """Drops a job's configuration when the job is over.

    Hydra keeps all of them, 0.15 MB each, to the end of a sweep, and nothing reads them there.
    """

    def on_job_end(self, config: DictConfig, job_return: JobReturn, **_: Any) -> None:
        job_return.cfg = job_return.hydra_cfg = None
