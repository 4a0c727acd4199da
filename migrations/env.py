"""Alembic's entry: runs migrations in the transaction that `migrations.upgrade` has opened."""

from alembic import context
from sqlalchemy import text

from service.tables import Base

_LOCK = 0x7472757468  # "truth"; any number that no other user of the database locks

connection = context.config.attributes["connection"]
if connection.dialect.name == "postgresql":
    # Two upgrades at once would both find the old version; SQLite's write lock does this already.
    connection.execute(text("SELECT pg_advisory_xact_lock(:lock)"), {"lock": _LOCK})
context.configure(connection=connection, target_metadata=Base.metadata, transactional_ddl=True)
with context.begin_transaction():
    context.run_migrations()
