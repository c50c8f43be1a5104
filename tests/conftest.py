"""What all tests share. Environment first: it must be set before torch is imported."""

import os

os.environ.setdefault("OMP_WAIT_POLICY", "passive")  # other processes use the cores as well
os.environ.setdefault("OMP_NUM_THREADS", "1")  # small nets: more threads only wait for each other
