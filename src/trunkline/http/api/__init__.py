"""The REST API under ``/api``: one module for each resource."""
