"""A Python worker that a Node process asks: `python worker.py`, then `node driver.js`. Ctrl-C ends it."""

import contextlib
import statistics

import msgspec

import node_ipc


class Sample(msgspec.Struct):
    values: list[float]


async def main():
    async with node_ipc.serve("worker") as server:

        @server.handle("summary")
        def summary(sample: Sample):
            return {"mean": statistics.fmean(sample.values), "median": statistics.median(sample.values)}

        print("the worker is ready", flush=True)
        await server.serve_forever()


with contextlib.suppress(KeyboardInterrupt):
    node_ipc.run(main())
