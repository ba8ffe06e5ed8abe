"""What a model can do in each column of the table of models, and how: covariates, several variates, anomalies.

It follows from the operations of its task and the capabilities of its checkpoint. /v1/models, ``tsfm list`` and the
tables of the documents take it from here.
"""

from __future__ import annotations

from collections.abc import Collection

from tsfm.engine import tasks

NATIVE = "native"  # the model takes covariates
REGRESSION = "regression"  # a regression takes them, and the model forecasts what is left
JOINT = "joint"  # the variates of a series see one another
EACH = "each"
FORECASTS = "forecasts"  # a point is compared with forecasts from both sides
RECONSTRUCTION = "reconstruction"  # or with what the model would fill in
DETECTION = "anomaly_detection"
# The names in /v1/models, and the words that each may have.
WORDS = {
    "past_covariates_how": (NATIVE, REGRESSION),
    "future_covariates_how": (NATIVE, REGRESSION),
    "multivariate_how": (JOINT, EACH),
    f"{DETECTION}_how": (FORECASTS, RECONSTRUCTION),
}


# The columns of the table of models.
COLUMNS = ("univariate", "covariates", "several variates", "anomaly detection")


def detects(task: str) -> bool:
    """Models of this task find anomalies."""
    return DETECTION in tasks.find(task).operations


def ways(task: str, can: Collection[str]) -> dict[str, str]:
    """One of its words for each name of ``WORDS`` that applies to a model.

    Args:
        task: the name of the model's task.
        can: names of the fields of ``Capabilities`` that are true for its checkpoint.
    """
    operations, found = tasks.find(task).operations, {}
    if "forecast" in operations:
        for kind in ("past_covariates", "future_covariates"):
            found[f"{kind}_how"] = NATIVE if kind in can else REGRESSION
    if operations:
        found["multivariate_how"] = JOINT if "multivariate" in can else EACH
    if detects(task):
        found[f"{DETECTION}_how"] = RECONSTRUCTION if "imputation" in can else FORECASTS
    return found


def cells(task: str, can: Collection[str]) -> tuple[str, ...]:
    """A word for each of ``COLUMNS``; "-": not at all."""
    how = ways(task, can)
    past, future = (how.get(f"{time}_covariates_how", "-") for time in ("past", "future"))
    covariates = past if past == future else f"past {past}, future {future}"
    return task, covariates, how.get("multivariate_how", "-"), how.get(f"{DETECTION}_how", "-")
