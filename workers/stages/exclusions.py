"""What becomes of a report that can't be used: its group is left out, or the round fails."""

from api_schemas.errors import RoundFailed
from api_schemas.jobs import ProgressEvent
from workers.stages.context import StageContext


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
