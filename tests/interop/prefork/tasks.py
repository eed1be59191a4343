"""A program of Celery's, which ends its workers without a word to Python."""

from __future__ import annotations

import os

from celery import Celery
from celery.signals import worker_process_shutdown

from txpusher import BlockingBatchPublisher, BlockingPusher

app = Celery("tasks", broker_url="filesystem://")
app.conf.broker_transport_options = {
    "data_folder_in": os.environ["QUEUE"],
    "data_folder_out": os.environ["QUEUE"],
    "control_folder": os.environ["QUEUE"] + "-control",
}
app.conf.worker_max_tasks_per_child = 4
app.conf.task_ignore_result = True

publisher = BlockingBatchPublisher(BlockingPusher.from_env())


@worker_process_shutdown.connect  # type: ignore[untyped-decorator,unused-ignore]
def close_publisher(**_: object) -> None:
    """Wait for what the worker has accepted."""
    publisher.close(timeout=5.0)


@app.task  # type: ignore[untyped-decorator,unused-ignore]
def create(number: int) -> None:
    """Publish five events, and wait for none of them."""
    for place in range(5):
        publisher.submit("orders", "created", f"{number} {place}")
