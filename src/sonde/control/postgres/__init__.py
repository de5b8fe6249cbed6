"""The control database in PostgreSQL: schema ``control``, beside the store's or in a database of its own."""
