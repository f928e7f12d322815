"""Ray with its usage reports switched off; all other modules import `ray` from here."""

from mmpnet.system.privacy import disable_usage_reports

disable_usage_reports()

import ray  # noqa: E402 - usage reports must be off before
from ray import data as ray_data  # noqa: E402
from ray.util import metrics as ray_metrics  # noqa: E402

__all__ = ["ray", "ray_data", "ray_metrics"]
