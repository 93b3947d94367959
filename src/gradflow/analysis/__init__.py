"""From run logs to tables and figures."""
