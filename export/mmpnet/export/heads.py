"""Cut an exported graph to one head: the label grid, decoded candidates, or detections after NMS."""

from typing import Any

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import TensorProto, compose, helper, numpy_helper, parser

from mmpnet.contract.boxes import EPSILON_PX2, LEAST_VOTE, VOTE_FROM_IOU, VOTE_SCORE_POWER
from mmpnet.contract.heads import HEADS, Head
from mmpnet.contract.thresholds import Thresholds
from mmpnet.export.graph import CANDIDATE_NAMES, Batch, drop_unused_initializers, fold_constants

CONF, IOU, MAX_DET = "conf", "iou", "max_det"
THRESHOLD_NAMES = (CONF, IOU, MAX_DET)

# Scores are in [0, 1], so that -1 is below every threshold and marks candidates that are out.
_NMS = """
<ir_version: 7, opset_import: ["": {opset}]>
nms (float[b, k, 4] boxes, float[b, k] scores, int64[b, k] class_ids, float[1] conf, float[1] iou, int64[1] max_det)
    => (float[b, m, 6] detections, int64[b] num_dets)
<int64[1, {num_foreground}, 1] classes = {{{classes}}}, int64[1] most = {{{candidates}}}, int64[1] first = {{0}},
    int64[1] one = {{1}}, int64[1] last = {{2}}, int64[2] picture_and_box = {{0, 2}}, int64[3] four = {{1, 1, 4}},
    int64[1] left = {{0}}, int64[1] top = {{1}}, int64[1] right = {{2}}, int64[1] bottom = {{3}},
    float out = {{-1.0}}, float[1] between = {{-0.5}}, float zero = {{0.0}}, float kept = {{1.0}},
    float least_area = {{{least_area}}}, float from_iou = {{{from_iou}}}, float least_vote = {{{least_vote}}},
    float score_power = {{{score_power}}}>
{{
    unsure = Less (scores, conf)
    sure_scores = Where (unsure, out, scores)
    sure_rows = Unsqueeze (sure_scores, one)
    class_rows = Unsqueeze (class_ids, one)
    of_class = Equal (class_rows, classes)
    by_class = Where (of_class, sure_rows, out)
    found = NonMaxSuppression (boxes, by_class, max_det, iou, between)
    where_found = Gather <axis = 1> (found, picture_and_box)
    count = Shape (found)
    rows_found = Gather <axis = 0> (count, first)
    updates = Expand (kept, rows_found)
    nowhere = Mul (scores, zero)
    is_kept = ScatterND (nowhere, where_found, updates)
    suppressed = Less (is_kept, kept)
    final_scores = Where (suppressed, out, scores)
    rows = Min (max_det, most)
    best, picked = TopK (final_scores, rows)
    is_row = Greater (best, between)
    best_column = Unsqueeze (best, last)
    is_row_column = Unsqueeze (is_row, last)
    picked_column = Unsqueeze (picked, last)
    picked_classes = GatherElements <axis = 1> (class_ids, picked)
    float_classes = Cast <to = 1> (picked_classes)
    class_column = Unsqueeze (float_classes, last)
    box_index = Expand (picked_column, four)
    picked_boxes = GatherElements <axis = 1> (boxes, box_index)
    corner_rows = Transpose <perm = [0, 2, 1]> (boxes)
    x1 = Gather <axis = 1> (corner_rows, left)
    y1 = Gather <axis = 1> (corner_rows, top)
    x2 = Gather <axis = 1> (corner_rows, right)
    y2 = Gather <axis = 1> (corner_rows, bottom)
    picked_x1 = Gather <axis = 2> (picked_boxes, left)
    picked_y1 = Gather <axis = 2> (picked_boxes, top)
    picked_x2 = Gather <axis = 2> (picked_boxes, right)
    picked_y2 = Gather <axis = 2> (picked_boxes, bottom)
    inner_x1 = Max (picked_x1, x1)
    inner_y1 = Max (picked_y1, y1)
    inner_x2 = Min (picked_x2, x2)
    inner_y2 = Min (picked_y2, y2)
    inner_width = Sub (inner_x2, inner_x1)
    inner_height = Sub (inner_y2, inner_y1)
    common_width = Max (inner_width, zero)
    common_height = Max (inner_height, zero)
    overlap = Mul (common_width, common_height)
    width = Sub (x2, x1)
    height = Sub (y2, y1)
    area = Mul (width, height)
    picked_width = Sub (picked_x2, picked_x1)
    picked_height = Sub (picked_y2, picked_y1)
    picked_area = Mul (picked_width, picked_height)
    areas = Add (picked_area, area)
    union = Sub (areas, overlap)
    some_union = Max (union, least_area)
    iou_with_picked = Div (overlap, some_union)
    difference = Sub (iou_with_picked, from_iou)
    over = Max (difference, zero)
    over_squared = Mul (over, over)
    weights = Pow (scores, score_power)
    weight_rows = Unsqueeze (weights, one)
    by_score = Mul (over_squared, weight_rows)
    picked_class_column = Unsqueeze (picked_classes, last)
    of_same_class = Equal (picked_class_column, class_rows)
    votes = Where (of_same_class, by_score, zero)
    moved = MatMul (votes, boxes)
    own = Mul (picked_boxes, least_vote)
    moved_and_own = Add (moved, own)
    cast_votes = ReduceSum <keepdims = 1> (votes, last)
    all_votes = Add (cast_votes, least_vote)
    voted_boxes = Div (moved_and_own, all_votes)
    columns = Concat <axis = 2> (voted_boxes, best_column, class_column)
    detections = Where (is_row_column, columns, zero)
    counted = Cast <to = 7> (is_row)
    num_dets = ReduceSum <keepdims = 0> (counted, one)
}}
"""


def with_head(
    model: onnx.ModelProto, head: Head, *, batch: Batch, num_classes: int, thresholds: Thresholds, frozen: bool
) -> onnx.ModelProto:
    """A copy of the full graph with the outputs of one head, without the nodes that they do not need.

    The head "nms" adds NMS and box voting for each class, with the results of mmpnet.contract.boxes. Its thresholds are
    initializers. Unless they are frozen, a caller may override them by feeding inputs with the names `conf`, `iou` and
    `max_det`, each of shape (1,).

    model: the graph of export_graph; it is not changed.
    batch: images per run, or "dynamic", as in export_graph.
    num_classes: number of classes, background included.
    """
    full = onnx.ModelProto()
    full.CopyFrom(model)
    if HEADS[head].suppresses:
        full = _with_nms(full, batch=batch, num_classes=num_classes, thresholds=thresholds, frozen=frozen)
    kept = [output for output in full.graph.output if output.name in HEADS[head].outputs]
    del full.graph.output[:]
    full.graph.output.extend(kept)
    cut = _pruned(fold_constants(full))
    onnx.checker.check_model(cut, full_check=True)
    return cut


def _with_nms(
    model: onnx.ModelProto, *, batch: Batch, num_classes: int, thresholds: Thresholds, frozen: bool
) -> onnx.ModelProto:
    opset = next(entry.version for entry in model.opset_import if not entry.domain)
    shapes = {output.name: output.type.tensor_type.shape.dim for output in model.graph.output}
    candidates = shapes["scores"][1].dim_value
    classes = range(1, num_classes)
    text = _NMS.format(
        opset=opset,
        num_foreground=len(classes),
        classes=", ".join(map(str, classes)),
        candidates=candidates,
        least_area=f"{EPSILON_PX2:.9f}",
        from_iou=f"{VOTE_FROM_IOU:.9f}",
        least_vote=f"{LEAST_VOTE:.15f}",
        score_power=f"{VOTE_SCORE_POWER:.1f}",
    )
    nms = parser.parse_model(text)
    nms.ir_version = model.ir_version
    merged = compose.merge_models(
        model,
        compose.add_prefix(nms, "nms/", rename_inputs=False, rename_outputs=False),
        io_map=[(name, name) for name in CANDIDATE_NAMES],
    )
    values: dict[str, NDArray[Any]] = {
        CONF: np.array([thresholds.conf], np.float32),
        IOU: np.array([thresholds.iou], np.float32),
        MAX_DET: np.array([thresholds.max_det], np.int64),
    }
    merged.graph.initializer.extend(numpy_helper.from_array(value, name) for name, value in values.items())
    inputs = [value for value in merged.graph.input if value.name not in THRESHOLD_NAMES]
    del merged.graph.input[:]
    merged.graph.input.extend(inputs)
    if not frozen:
        types = {CONF: TensorProto.FLOAT, IOU: TensorProto.FLOAT, MAX_DET: TensorProto.INT64}
        merged.graph.input.extend(helper.make_tensor_value_info(name, types[name], [1]) for name in THRESHOLD_NAMES)
    rows = min(thresholds.max_det, candidates) if frozen else MAX_DET
    _state_shape(merged, "detections", ("batch" if batch == "dynamic" else batch, rows, 6))
    _state_shape(merged, "num_dets", ("batch" if batch == "dynamic" else batch,))
    return merged


def _pruned(model: onnx.ModelProto) -> onnx.ModelProto:
    """Remove the nodes and initializers that no output needs, in place."""
    graph = model.graph
    needed = {output.name for output in graph.output}
    nodes = []
    for node in reversed(graph.node):
        if needed.intersection(node.output):
            nodes.append(node)
            needed.update(node.input)
    shapes = [value for value in graph.value_info if value.name in needed]
    graph.ClearField("node")
    graph.node.extend(nodes[::-1])
    graph.ClearField("value_info")
    graph.value_info.extend(shapes)
    drop_unused_initializers(model)
    return model


def _state_shape(model: onnx.ModelProto, name: str, shape: tuple[int | str, ...]) -> None:
    output = next(value for value in model.graph.output if value.name == name)
    output.CopyFrom(helper.make_tensor_value_info(name, output.type.tensor_type.elem_type, shape))
