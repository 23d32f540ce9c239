"""A host on several machines, with the settings of the docs' page on deployment."""

import os

from tests.cluster.queues import QUEUES
from tests.settings import *  # noqa: F403
from tests.settings import INSTALLED_APPS, OCTO_STRIPE_GATEWAY

NAMES = ("POOL", "PRIMARY", "REPLICA", "REDIS", "STRIPE")
PORTS = {name: int(os.environ[f"CLUSTER_{name}"]) for name in NAMES}
ALLOWED_HOSTS = ["127.0.0.1"]
QUEUE = QUEUES[os.environ.get("CLUSTER_QUEUE", "rq")]
INSTALLED_APPS = [*INSTALLED_APPS, *filter(None, [QUEUE.app]), "tests.cluster.apps.HostConfig"]
DATABASES = {
    "default": {
        "ENGINE": "django.db.backends.postgresql",
        "HOST": "127.0.0.1",
        "PORT": PORTS[os.environ.get("CLUSTER_DATABASE", "POOL")],
        "NAME": "postgres",
        "USER": "postgres",
        # Behind a pooler in transaction mode a cursor does not outlive its transaction.
        "DISABLE_SERVER_SIDE_CURSORS": True,
        "OPTIONS": {"connect_timeout": 2},
    }
}
# Not through the pooler, which takes connections for a server that is down.
DATABASES["replica"] = DATABASES["default"] | {"PORT": PORTS["REPLICA"]}
DATABASE_ROUTERS = [*filter(None, [os.environ.get("CLUSTER_ROUTER")])]
# Time-outs, so that nobody waits for a cache or a broker that hangs.
REDIS = {"socket_timeout": 1, "socket_connect_timeout": 1}
CACHES = {
    "default": {
        "BACKEND": "django.core.cache.backends.redis.RedisCache",
        "LOCATION": f"redis://127.0.0.1:{PORTS['REDIS']}/0",
        "OPTIONS": REDIS,
    }
}
BROKER = f"redis://127.0.0.1:{PORTS['REDIS']}/1"
RQ_QUEUES = {"default": {"URL": BROKER, "REDIS_CLIENT_KWARGS": REDIS}}
CELERY_BROKER_URL = BROKER
CELERY_BROKER_TRANSPORT_OPTIONS = REDIS
TASKS = {"default": {"BACKEND": QUEUE.backend, "OPTIONS": QUEUE.options}}
if QUEUE.app == "django_tasks_redis":
    TASKS["default"]["OPTIONS"] = {"REDIS_URL": BROKER}
OCTO_STRIPE_GATEWAY = OCTO_STRIPE_GATEWAY | {
    "STRIPE_API_BASE": f"http://127.0.0.1:{PORTS['STRIPE']}",
    "STRIPE_TIMEOUT": (2, 5),
    "WEBHOOK_PROCESSING": "task",
    # Each call with a key asks the cache for wrong ones.
    "THROTTLE_RATES": {"create": "100000/minute", "authentication": "100000/minute"},
}
