"""The process that owns the carriers' media sockets: no bot code, no database."""
