"""ONNX Runtime, imported with its usage reports switched off: every other module takes `onnxruntime` from here."""

from mmpnet.system.privacy import disable_usage_reports

disable_usage_reports()

import onnxruntime as onnxruntime  # noqa: E402 - it reports when it is imported
