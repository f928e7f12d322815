"""Weighted box fusion gives the same boxes as the steps of the paper, one box after another."""

import numpy as np
import pytest

from mmpnet.contract.detections import Detections
from mmpnet.train.distillation.fusion import FUSION_IOU, Clusters, fuse

Box = tuple[float, float, float, float]


def iou_of(a: Box, b: Box) -> float:
    width, height = (max(min(a[i + 2], b[i + 2]) - max(a[i], b[i]), 0) for i in (0, 1))
    overlap = width * height
    union = sum((box[2] - box[0]) * (box[3] - box[1]) for box in (a, b)) - overlap
    return overlap / union


def fused_by_the_paper(views: list[Detections], weights: list[float]) -> set[tuple[object, ...]]:
    """Section 3 of the paper: a list of all boxes, lists of clusters, fused boxes recomputed from their members."""
    boxes: list[tuple[float, Box, int, int]] = [
        (float(score), (float(xyxy[0]), float(xyxy[1]), float(xyxy[2]), float(xyxy[3])), int(class_id), view)
        for view, one in enumerate(views)
        for xyxy, score, class_id in zip(one.xyxy, one.score, one.class_id, strict=True)
    ]
    boxes.sort(key=lambda box: -box[0])
    clusters: list[list[tuple[float, Box, int, int]]] = []

    def fused(cluster: list[tuple[float, Box, int, int]]) -> Box:
        mass = [score * weights[view] for score, _, _, view in cluster]
        return tuple(  # type: ignore[return-value]
            sum(m * box[side] for m, (_, box, _, _) in zip(mass, cluster, strict=True)) / sum(mass) for side in range(4)
        )

    for entry in boxes:
        _, box, class_id, _ = entry
        overlaps = [(iou_of(fused(cluster), box), n) for n, cluster in enumerate(clusters) if cluster[0][2] == class_id]
        best, at = max(overlaps, key=lambda pair: (pair[0], -pair[1]), default=(0.0, -1))
        if best > FUSION_IOU:
            clusters[at].append(entry)
        else:
            clusters.append([entry])
    return {
        (
            *(round(side, 2) for side in fused(cluster)),
            cluster[0][2],
            *(
                round(max((score for score, _, _, of in cluster if of == view), default=0.0), 4)
                for view in range(len(views))
            ),
        )
        for cluster in clusters
    }


def as_set(clusters: Clusters) -> set[tuple[object, ...]]:
    return {
        (*(round(float(v), 2) for v in box), int(class_id), *(round(float(v), 4) for v in scores))
        for box, class_id, scores in zip(clusters.boxes_xyxy, clusters.class_ids, clusters.scores, strict=True)
    }


def detections(entries: list[tuple[Box, float]], class_id: int = 1) -> Detections:
    ordered = sorted(entries, key=lambda entry: -entry[1])
    return Detections(
        np.array([box for box, _ in ordered], np.float32).reshape(-1, 4),
        np.array([score for _, score in ordered], np.float32),
        np.full(len(ordered), class_id, np.int64),
    )


def random_view(objects: np.ndarray, random: np.random.Generator) -> Detections:
    seen = objects[random.random(len(objects)) < 0.8]
    sides = (seen[:, 2:] - seen[:, :2]).repeat(2, axis=1)
    noisy = np.concatenate([seen + random.normal(0, 0.1, seen.shape) * sides, random.uniform(0, 50, (3, 4))])
    noisy[-3:, 2:] += noisy[-3:, :2]
    score = -np.sort(-random.uniform(0.05, 1, len(noisy)))
    ids = random.integers(1, 3, len(noisy))
    return Detections(noisy.astype(np.float32), score.astype(np.float32), ids)


@pytest.mark.parametrize("seed", range(30))
def test_fusion_is_that_of_the_paper(seed: int) -> None:
    random = np.random.default_rng(seed)
    corners = random.uniform(0, 100, (6, 2))
    objects = np.concatenate([corners, corners + random.uniform(15, 60, (6, 2))], axis=1)
    views = [random_view(objects, random) for _ in range(int(random.integers(1, 5)))]
    weights = random.uniform(0.3, 1, len(views)).tolist()
    fused = fuse(views, weights)
    assert as_set(fused) == fused_by_the_paper(views, weights)
    assert fused.scores.shape == (len(fused.class_ids), len(views))


def test_two_views_of_one_object_meet_between_them_by_their_scores() -> None:
    left, right = (0.0, 0.0, 100.0, 100.0), (20.0, 0.0, 120.0, 100.0)
    fused = fuse([detections([(left, 0.6)]), detections([(right, 0.3)])], [1, 1])
    np.testing.assert_allclose(fused.boxes_xyxy, [[20 / 3, 0, 100 + 20 / 3, 100]], rtol=1e-5)
    np.testing.assert_allclose(fused.scores, [[0.6, 0.3]])
    weighed = fuse([detections([(left, 0.6)]), detections([(right, 0.3)])], [0.5, 1])
    np.testing.assert_allclose(weighed.boxes_xyxy, [[10, 0, 110, 100]], rtol=1e-5)


def test_a_view_that_sees_an_object_twice_votes_once() -> None:
    same = (0.0, 0.0, 100.0, 100.0)
    fused = fuse([detections([(same, 0.6), (same, 0.5)]), detections([(same, 0.2)])], [1, 1])
    np.testing.assert_allclose(fused.scores, [[0.6, 0.2]])


def test_boxes_of_other_classes_stay_apart_and_nothing_gives_nothing() -> None:
    same = (0.0, 0.0, 100.0, 100.0)
    fused = fuse([detections([(same, 0.6)], 1), detections([(same, 0.5)], 2)], [1, 1])
    assert fused.class_ids.tolist() == [1, 2]
    np.testing.assert_allclose(fused.scores, [[0.6, 0], [0, 0.5]])
    nothing = fuse([detections([]), detections([])], [1, 1])
    assert (nothing.boxes_xyxy.shape, nothing.scores.shape) == ((0, 4), (0, 2))
