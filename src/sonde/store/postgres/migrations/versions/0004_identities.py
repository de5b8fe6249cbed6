"""What anonymous readings have been seen."""

revision = "0004"
down_revision = "0003"


def upgrade() -> None:
    return
