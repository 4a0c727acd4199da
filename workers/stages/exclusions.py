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
        """Exclude a group. Raises RoundFailed with the reason where the policy says `fail`."""
        if self.context.job.announcement.on_bad_report == "fail":
            raise RoundFailed(reason, code="bad_report")
        self.reasons[group_id] = reason
        self.context.tell(
            ProgressEvent(
                type="group_excluded",
                level="warning",
                message=f"excluded: {reason}",
                data={"group_id": group_id, "reason": reason},
            )
        )

    def require_someone_left(self, groups: int) -> None:
        """Raises RoundFailed, naming every reason, if no group is left."""
        if groups == 0:
            raise RoundFailed(
                "every group was excluded: " + "; ".join(self.reasons.values()),
                code="all_groups_excluded",
            )
