"""The detector of one mmp-run: thresholds, self-test, warm-up."""

from mmpnet.console.command import console
from mmpnet.contract.detections import Thresholds
from mmpnet.contract.errors import ContractError
from mmpnet.runtime.analytics.tracker import LOW_CONF
from mmpnet.runtime.inference.decode import CANDIDATES
from mmpnet.runtime.inference.detector import Detector
from mmpnet.runtime.inference.self_test import describe_expected, run_self_test


def widen_thresholds(detector: Detector, *, blur: bool) -> Detector:
    """A detector that gives more than is to be shown.

    ByteTrack goes on with a track on scores that would begin none. Hiding errs on the side of hiding: the unlikely, and
    more people than --max-det allows.

    Raises: ContractError if the thresholds are frozen into the graph, and too high.
    """
    chosen = detector.thresholds
    if detector.metadata.frozen:
        if chosen.conf > LOW_CONF:
            raise ContractError(
                f"{detector.path}: --blur, --track, --line and --zone need what is found from a score of {LOW_CONF:g} "
                f"up, and conf {chosen.conf:g} is frozen into this file; leave them out, or export it without --frozen"
            )
        return detector
    max_det = max(CANDIDATES, chosen.max_det) if blur else chosen.max_det
    return detector.with_thresholds(Thresholds(conf=min(LOW_CONF, chosen.conf), iou=chosen.iou, max_det=max_det))


def check_and_warm_up(detector: Detector) -> None:
    """The first inference is slow on every device: it may as well prove that the others will be right."""
    if detector.metadata.self_test is None:
        detector.warm_up()
    else:
        run_self_test(detector)


def show_self_test(detector: Detector) -> None:
    """Say how near this device comes to the exporter's. Raises: SelfTestError if it does not."""
    result = run_self_test(detector)
    console().print(
        f"{detector.path.name} on {detector.provider}: self-test passed, scores within "
        f"{result.max_score_difference:.1e}, IoU from {result.min_iou:.4f}; it expects "
        f"{describe_expected(result.n_expected)}"
    )
