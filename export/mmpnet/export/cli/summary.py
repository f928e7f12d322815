"""What mmp-export says about a file that it wrote."""

from pathlib import Path

from mmpnet.contract.metadata import ModelMetadata
from mmpnet.contract.records import ProofRecord, QuantizationRecord
from mmpnet.contract.text import counted
from mmpnet.runtime.inference.self_test import describe_expected


def summary_lines(path: Path, metadata: ModelMetadata) -> list[str]:
    """The lines that describe a written file: its interface, its checks, and the commands that use it."""
    height, width = metadata.input.size_hw
    described, runtime = metadata.input, metadata.minimum_runtime
    lines = [
        f"{path}  {path.stat().st_size / 1e6:.1f} MB  opset {runtime.opset}, ONNX Runtime {runtime.onnxruntime} and up",
        f"input   {described.name}: {described.dtype} {described.layout} {described.channel_order}, batch "
        f"{described.batch}, {height}x{width}, letterboxed",
        "outputs " + ", ".join(f"{o.name} {list(o.shape)}" for o in metadata.outputs),
    ]
    if metadata.proof is not None:
        lines += _proof_lines(metadata.proof, with_accuracy=metadata.precision != "int8")
    if metadata.self_test is not None:
        lines.append(f"self-test: expects {describe_expected(len(metadata.self_test.expected))}")
    if metadata.quantization is not None:
        lines.append(_int8_line(metadata.quantization))
    return [*lines, f"next:   mmp-run {path} --source IMAGE --save out.jpg", f"        mmp-val {path} --data val.json"]


def _proof_lines(proof: ProofRecord, *, with_accuracy: bool) -> list[str]:
    lines = [
        f"torch = exported graph on {counted(proof.n_images, 'image')}: grid within {proof.max_grid_difference:.1e}, "
        f"scores within {proof.max_score_difference:.1e}, boxes within {proof.max_box_difference_px:.1e} px"
    ]
    if proof.after_nms is not None:
        final = proof.after_nms
        lines.append(
            f"this file and torch after NMS: {counted(final.n_detections, 'detection')}, scores within "
            f"{final.max_score_difference:.1e}, boxes within {final.max_box_difference_px:.1e} px, {final.n_unmatched} "
            "without a partner"
        )
    if proof.accuracy is not None and with_accuracy:
        same = proof.accuracy
        lines.append(
            f"on {same.dataset}: AP {same.file.AP:.4f} (torch {same.reference.AP:.4f}), AP50 {same.file.AP50:.4f} "
            f"(torch {same.reference.AP50:.4f})"
        )
    return lines


def _int8_line(record: QuantizationRecord) -> str:
    accuracy, latency = record.accuracy, record.latency
    return (
        f"int8: {record.verdict}; on {accuracy.dataset} AP {accuracy.file.AP:.4f} (float32 "
        f"{accuracy.reference.AP:.4f}), {latency.int8_ms:.2f} ms (float32 {latency.float_ms:.2f} ms) on one thread, "
        f"{counted(len(record.float_layers), 'layer')} in float"
    )
