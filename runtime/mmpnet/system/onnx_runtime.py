"""ONNX Runtime with its usage reports switched off; all other modules import `onnxruntime` from here."""

from mmpnet.system.privacy import disable_usage_reports

disable_usage_reports()

import onnxruntime as onnxruntime  # noqa: E402 - the import itself sends the first report
