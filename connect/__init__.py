"""Connect: keeps Sage Intacct and Rillion Prime in step. This package knows both systems and never the queue."""
