"""Several machines on one: two nodes behind haproxy, pgbouncer, PostgreSQL with a replica, Redis, a worker.

`python -m tests.cluster` lets buyers buy while parts of it fail, and counts the money afterwards.
"""
