"""The schema of the database, as steps that Alembic takes in order. Each is raw SQL: what it made stays what it made."""

from alembic import op


def run(script: str) -> None:
    """Execute statements, as they stand: neither ``:`` nor ``%`` means anything else than in SQL."""
    op.get_bind().execution_options(no_parameters=True).exec_driver_sql(script)
