"""The graph tools of ONNX Runtime, imported after its usage reports are switched off."""

# isort: off
import mmpnet.system.onnx_runtime  # noqa: F401
from onnxruntime.quantization import CalibrationDataReader as CalibrationDataReader
from onnxruntime.quantization import CalibrationMethod as CalibrationMethod
from onnxruntime.quantization import QuantFormat as QuantFormat
from onnxruntime.quantization import QuantType as QuantType
from onnxruntime.quantization import quant_pre_process as quant_pre_process
from onnxruntime.quantization import quantize_static as quantize_static
from onnxruntime.quantization.onnx_model import ONNXModel as ONNXModel
from onnxruntime.transformers.float16 import convert_float_to_float16 as convert_float_to_float16
