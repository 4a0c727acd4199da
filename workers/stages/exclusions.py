"""What becomes of a report that can't be used: its group is left out, or the round fails."""

from api_schemas.errors import (
    EndpointUnavailable,
    InvalidInput,
    LanguageModelFailed,
    NotFound,
    RoundFailed,
    StorageFull,
)
from api_schemas.jobs import ProgressEvent
from workers.artifacts import raise_if_full
from workers.stages.context import StageContext

_SERVICES = ("endpoint_refused", "unknown_endpoint")
"""Failures of language models that are the operator's to mend: the key, or the list."""


def raise_if_services(error: Exception) -> None:
    """Raises what is a failure of machines, of the store, or of an operator's endpoint: it must not
    exclude a group, but end the attempt, or the job, which can be gone on with."""
    raise_if_full(error)
    if isinstance(error, StorageFull | NotFound | EndpointUnavailable):
        raise error
    if isinstance(error, LanguageModelFailed | InvalidInput) and error.code in _SERVICES:
        raise error


class Exclusions:
    """Collects the reasons by the announced policy (`on_bad_report`)."""

    def __init__(self, context: StageContext, earlier: dict[str, str] | None = None):
        self.context = context
        self.reasons: dict[str, str] = dict(earlier or {})

    def add(self, group_id: str, reason: str) -> None:
        """Exclude a group. Raises RoundFailed where the policy says `fail`.

        The reason goes into an event, which the operator alone reads: the round's failure is shown
        to all groups, and a reason quotes a report.
        """
        fails = self.context.job.announcement.on_bad_report == "fail"
        self.reasons[group_id] = reason
        self.context.tell(
            ProgressEvent(
                type="group_excluded",
                level="error" if fails else "warning",
                message=f"unusable: {reason}" if fails else f"excluded: {reason}",
                data={"group_id": group_id, "reason": reason},
            )
        )
        if fails:
            raise RoundFailed(
                "a report's reward model can't be used and on_bad_report is 'fail'; the job's "
                "events tell the operator which and why",
                code="bad_report",
            )

    def require_someone_left(self, groups: int) -> None:
        """Raises RoundFailed if no group is left."""
        if groups == 0:
            raise RoundFailed(
                f"every group was excluded, {len(self.reasons)} of {len(self.reasons)}; the job's "
                "events tell the operator why",
                code="all_groups_excluded",
            )
