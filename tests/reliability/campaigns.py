"""How large a slow campaign is: `CAMPAIGN_SHARE=0.1` runs a tenth of each, to try them out."""

import os

_SHARE = float(os.environ.get("CAMPAIGN_SHARE", "1"))


def scaled(full: int) -> int:
    return max(1, round(full * _SHARE))
