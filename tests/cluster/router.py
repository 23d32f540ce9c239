"""The router of the docs' page on deployment, as it stands there."""

from tests.support.docs import get_block, run

ReadsFromReplica = run(get_block("python", "class ReadsFromReplica"))["ReadsFromReplica"]
