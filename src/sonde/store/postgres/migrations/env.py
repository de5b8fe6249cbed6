"""What Alembic runs to take its steps: on the connection that :mod:`sonde.store.postgres.migrate` gives."""

from alembic import context

context.configure(
    connection=context.config.attributes["connection"],
    version_table="schema_version",
    version_table_schema="store",
)
with context.begin_transaction():
    context.run_migrations()
