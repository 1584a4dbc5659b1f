"""Database drivers, sealing of secrets, the migrations runner: how to talk to a database, not what is in it."""
