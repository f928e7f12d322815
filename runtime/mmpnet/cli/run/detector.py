"""Prepare the detector of an mmp-run: thresholds, self-test, warm-up."""

from mmpnet.console.command import console
from mmpnet.contract.errors import ContractError
from mmpnet.contract.thresholds import Thresholds
from mmpnet.runtime.analytics.tracker import LOW_CONF
from mmpnet.runtime.inference.decode import CANDIDATES
from mmpnet.runtime.inference.detector import Detector
from mmpnet.runtime.inference.self_test import describe_expected, run_self_test


def widen_thresholds(detector: Detector, *, blur: bool) -> Detector:
    """A detector that returns more boxes than are shown.

    ByteTrack continues a track on scores that are too low to start one. --blur hides too much rather than too little:
    also boxes with low scores, and more of them than --max-det.

    Raises: ContractError if the thresholds are fixed in the graph and too high.
    """
    chosen = detector.thresholds
    if detector.metadata.frozen:
        if chosen.conf > LOW_CONF:
            raise ContractError(
                f"{detector.path}: --blur, --track, --line and --zone need detections from score {LOW_CONF:g}, but the "
                f"file has a fixed conf of {chosen.conf:g}; leave them out, or export it without --frozen"
            )
        return detector
    max_det = max(CANDIDATES, chosen.max_det) if blur else chosen.max_det
    return detector.with_thresholds(Thresholds(conf=min(LOW_CONF, chosen.conf), iou=chosen.iou, max_det=max_det))


def check_and_warm_up(detector: Detector) -> None:
    """Run the first inference, which is slow on every device; it also runs the file's self-test if there is one."""
    if detector.metadata.self_test is None:
        detector.warm_up()
    else:
        run_self_test(detector)


def show_self_test(detector: Detector) -> None:
    """Print how closely this device matches the exporting machine. Raises: SelfTestError if it does not."""
    result = run_self_test(detector)
    console().print(
        f"{detector.path.name} on {detector.provider}: self-test passed, scores within "
        f"{result.max_score_difference:.1e}, IoU from {result.min_iou:.4f}; it expects "
        f"{describe_expected(result.n_expected)}"
    )
