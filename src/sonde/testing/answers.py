"""The questions that every store answers, with the columns of the answers; and the views for those who ask in SQL."""

# ruff: noqa: S608 - names of views are the contract's own

from typing import Final

from sonde.clock import DAY
from sonde.question import (
    Alerts,
    Commands,
    CommandSteps,
    Devices,
    FoundSeries,
    Gaps,
    Heatmap,
    History,
    Kpis,
    Ledger,
    Profiles,
    Question,
    Samples,
    Sql,
    Stale,
    Totals,
    Trends,
)
from sonde.testing.store_feed import START

COLUMNS: Final[dict[type, str]] = {
    Kpis: "site_id zone_id sensor_type current_avg current_max sample_count last_updated",
    Trends: "timestamp site_id zone_id avg min max count",
    Alerts: (
        "alert_id rule device metric site zone labels type value peak threshold time fired_at resolved_at shelved_until state"
        " severity message retroactive"
    ),
    Heatmap: "site_id zone_id occupancy_rate avg_occupancy",
    Devices: "device_id site_id zone_id metric labels time kind value text quality",
    History: "device metric site zone labels time kind value text quality",
    FoundSeries: "series device metric site zone labels time kind value text quality",
    Samples: "series step time count min max avg kind text quality",
    Stale: "device_id site_id zone_id last_seen",
    Totals: "readings series devices alerts_firing parts part_bytes",
    Profiles: "device profile updated node",
    Commands: (
        "id device command parameters who state accepted_at expires_at node epoch handed_at delivered_at started_at"
        " finished_at changed_at message progress details"
    ),
    CommandSteps: "id device command step time message progress details",
    Ledger: "source lane sent stored duplicate refused set_aside lost missing",
    Gaps: "source lane epoch reason first_seq last_seq readings noticed before detail",
}

VIEWS: Final = {
    "readings": "time device metric site zone labels kind value text quality",
    "windows": "device metric site zone labels width start count sum min max avg last",
    "alerts": (
        "alert_id rule device metric site zone labels type severity state threshold value peak time fired_at resolved_at"
        " retroactive message shelved_until"
    ),
    "devices": "device site zone series last_seen profile",
    "gaps": "source lane epoch reason first_seq last_seq readings noticed detail",
}

QUESTIONS: Final[tuple[Question, ...]] = (
    Kpis(),
    Trends("co2", START, START + DAY),
    Alerts(),
    Heatmap(),
    Heatmap(by_hour=True),
    Devices(),
    History(limit=50),
    FoundSeries(),
    Samples((0, 1), START, START + DAY, 100),
    Samples((0, 1), START, START + DAY // 100, 100),
    Samples((0, 1), START, START + 90 * DAY, 100),
    Stale(START + DAY),
    Totals(),
    Profiles(),
    Commands(),
    CommandSteps(),
    Ledger(),
    Gaps(),
    *(
        Sql(f"select * from {view} order by {', '.join(str(n + 1) for n, _ in enumerate(columns.split()))}")
        for view, columns in VIEWS.items()
    ),
)
