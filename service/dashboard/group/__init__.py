"""The pages of a group: its rounds, its report, what it pays and why, and what it gets."""

from service.dashboard.group import previews, receipts, report, reward_models, round_page

ROUTERS = (
    round_page.router,
    report.router,
    previews.router,
    receipts.router,
    reward_models.router,
)
