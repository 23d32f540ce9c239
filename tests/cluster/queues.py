"""The queues that a worker can be called through: the settings of each, and the worker's command."""

from __future__ import annotations

import dataclasses
import sys
from typing import Any

DJANGO = (sys.executable, "-m", "django")


@dataclasses.dataclass(frozen=True)
class Queue:
    """A backend of Django's task framework; `packages` are modules and what they are installed as."""

    backend: str
    worker: tuple[str, ...]
    packages: dict[str, str]
    app: str = ""
    options: dict[str, Any] = dataclasses.field(default_factory=dict)


RQ_WORKER = (*DJANGO, "rqworker", "default", "--job-class", "django_tasks_rq.Job")
CELERY_WORKER = (sys.executable, "-m", "celery", "-A", "tests.cluster.celery", "worker", "--concurrency", "2")

QUEUES = {
    "rq": Queue("django_tasks_rq.RQBackend", RQ_WORKER, {"django_tasks_rq": "django-tasks-rq"}, "django_rq"),
    "database": Queue(
        "django_tasks_db.DatabaseBackend", (*DJANGO, "db_worker"), {"django_tasks_db": "django-tasks-db"}
    ),
    "redis": Queue(
        "django_tasks_redis.RedisTaskBackend",
        (*DJANGO, "run_redis_tasks", "--continuous"),
        {"django_tasks_redis": "django-tasks-redis"},
        "django_tasks_redis",
    ),
    "celery": Queue(
        "django_tasks_celery.CeleryBackend",
        CELERY_WORKER,
        {"django_tasks_celery": "django-tasks-celery", "celery": "celery[redis]"},
        options={"CELERY_APP": "tests.cluster.celery.app"},
    ),
}
