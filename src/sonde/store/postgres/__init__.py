"""The store at scale: PostgreSQL 15 or newer. Schema ``store`` holds the tables, ``sonde`` the views that are a promise."""
