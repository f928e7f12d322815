"""Names of the options of a search, apart from the code that uses them, so that a help can show them."""

from typing import Literal, TypeAlias

Exported: TypeAlias = Literal["fp32", "int8"]
Rank: TypeAlias = Literal["p50", "p90", "p95", "p99"]
