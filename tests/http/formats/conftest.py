"""Long tables for the tests of this room."""

import numpy as np
import pyarrow as pa
import pytest


@pytest.fixture
def long_table():
    """Make a table of one series, or of those that ``item_id`` names."""

    def make(stamps: object, target: object = None, item_id: object = "a", **covariates: object) -> pa.Table:
        rows = len(stamps)  # type: ignore[arg-type]
        ids = [item_id] * rows if isinstance(item_id, str) else item_id
        values = np.arange(float(rows)) if target is None else target
        return pa.table({"item_id": ids, "timestamp": stamps, "target": values, **covariates})

    return make
