"""The table of heads is complete, and agrees with the metadata and with the reader of outputs."""

from typing import get_args

from mmpnet.contract.heads import HEADS, Head, Meaning


def test_every_head_has_its_entry_and_every_output_one_head() -> None:
    assert set(HEADS) == set(get_args(Head))
    outputs = [meaning for spec in HEADS.values() for meaning in spec.outputs]
    assert sorted(outputs) == sorted(get_args(Meaning))


def test_a_graph_that_suppresses_has_decoded_first() -> None:
    assert all(spec.decodes for spec in HEADS.values() if spec.suppresses)
