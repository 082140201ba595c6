"""The loop that people write, as a contestant of `pixassay bench`.

One message at a time: boto3 get, full decode with Pillow, each detector by itself in torch fp32 at batch 1,
one INSERT, commit, next. It reads a topic of its own on the same broker, and writes a table of its own.
"""

import asyncio
import io
import itertools
import json
import sys
from pathlib import Path
from typing import Any

import boto3
import numpy as np
import psycopg
import torch
from aiokafka import AIOKafkaConsumer, AIOKafkaProducer, TopicPartition
from PIL import Image

from models.bundle import load_bundle
from models.ensemble import Ensemble
from models.views import render
from trt_build.bench.separate import separate_detectors

TABLE = "create table if not exists naive_verdicts (id bigserial primary key, uri text, logits real[])"
INSERT = "insert into naive_verdicts (uri, logits) values (%s, %s)"
TOPIC = "naive.uploads"


async def main(plan: dict[str, Any]) -> None:
    """Serve the contest: a number on stdin is so many messages."""
    detectors = separate_detectors(load_bundle(Path(plan["bundle"])).manifest)
    store = boto3.client("s3", **plan["s3"])
    places = itertools.cycle(plan["uris"])
    producer = AIOKafkaProducer(bootstrap_servers=plan["kafka"])
    consumer = AIOKafkaConsumer(
        bootstrap_servers=plan["kafka"],
        group_id="naive",
        auto_offset_reset="earliest",
        enable_auto_commit=False,
    )
    with psycopg.connect(plan["database"]) as database:
        database.execute(TABLE)
        database.commit()
        await producer.start()
        await producer.send_and_wait(TOPIC, next(places).encode(), partition=0)  # the one that is read
        await consumer.start()
        consumer.assign([TopicPartition(TOPIC, 0)])
        await judge_one(consumer, store, detectors, database)
        sys.stdout.write("ready\n")
        sys.stdout.flush()
        while line := await asyncio.to_thread(sys.stdin.readline):
            for _ in range(int(line)):
                await producer.send(TOPIC, next(places).encode(), partition=0)
            await producer.flush()
            for _ in range(int(line)):
                await judge_one(consumer, store, detectors, database)
            sys.stdout.write("done\n")
            sys.stdout.flush()
        await consumer.stop()
        await producer.stop()


async def judge_one(
    consumer: AIOKafkaConsumer, store: Any, detectors: list[Ensemble], database: "psycopg.Connection[Any]"
) -> None:
    """From the message to the committed row and offset."""
    record = await consumer.getone()
    uri = record.value.decode()
    bucket, _, key = uri.removeprefix("s3://").partition("/")
    data = store.get_object(Bucket=bucket, Key=key)["Body"].read()
    picture = np.asarray(Image.open(io.BytesIO(data)).convert("RGB"))
    logits = scores(detectors, picture)
    database.execute(INSERT, (uri, logits))
    database.commit()
    await consumer.commit()


@torch.inference_mode()
def scores(detectors: list[Ensemble], picture: "np.ndarray[Any, np.dtype[np.uint8]]") -> list[float]:
    """One network after another on one picture [H, W, 3]; a view that several read is made once."""
    specs = {name: spec for detector in detectors for name, spec in detector.views.items()}
    views = {name: torch.from_numpy(render(picture, spec))[None] for name, spec in specs.items()}
    return [float(detector({name: views[name] for name in detector.views})[0, 0]) for detector in detectors]


if __name__ == "__main__":
    asyncio.run(main(json.loads(sys.argv[1])))
