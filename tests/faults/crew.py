"""The workers of a campaign: killed, frozen, added and taken away, and always replaced."""

import asyncio
import signal
from pathlib import Path

from stream.settings import Settings
from tests.faults.stage import frozen
from tests.harness.processes import WorkerProcess

SIZE = 3  # workers, while nobody joins or leaves
STARTING = 0.2  # share of the faults that may hit a worker which is still starting
LEAVE_S = 90.0  # for a worker to end after SIGTERM, whatever else is going on


class Crew:
    """A group of `pixassay worker` processes. `watch` replaces those that end."""

    def __init__(self, settings: Settings, folder: Path) -> None:
        self._settings, self._folder = settings, folder
        self._workers: list[WorkerProcess] = []
        self._count = 0
        self.wanted = SIZE
        self.kills = self.changes = 0
        self.died: list[str] = []  # the last words of workers that ended though nobody had asked them to
        self._leaving: set[asyncio.Task[None]] = set()

    @property
    def complete(self) -> bool:
        """Whether all that are wanted have joined the group."""
        return sum(worker.ready for worker in self._workers) >= self.wanted

    async def watch(self) -> None:
        """Keep the wanted number of workers up, until cancelled."""
        while True:
            for worker in [one for one in self._workers if not one.alive]:
                self._workers.remove(worker)
                self.died.append(f"{worker.name}: {worker.log[-2000:]}")
            while len(self._workers) < self.wanted:
                await asyncio.to_thread(self._add)
            await asyncio.sleep(0.1)

    def _add(self) -> None:
        self._count += 1
        worker = WorkerProcess(self._settings, self._folder, f"worker{self._count}")
        worker.start()
        self._workers.append(worker)

    async def kill(self, choice: float) -> None:
        """kill -9 of one worker; another one takes its place."""
        if (worker := self._take(choice)) is not None:
            await asyncio.to_thread(worker.kill)
            self.kills += 1

    async def freeze(self, choice: float, seconds: float) -> None:
        """One worker stands still, longer than the group waits for it, and then goes on."""
        worker = self._pick(choice)
        if worker is not None:
            with frozen(worker.pid):
                await asyncio.sleep(seconds)

    def join(self) -> None:
        """One worker more."""
        self.wanted += 1
        self.changes += 1

    def leave(self, choice: float) -> None:
        """SIGTERM to one worker; it is not replaced."""
        worker = self._take(choice)
        if worker is not None:
            self.wanted -= 1
            self.changes += 1
            task = asyncio.create_task(self._part_from(worker))
            self._leaving.add(task)
            task.add_done_callback(self._leaving.discard)

    async def dismiss(self) -> None:
        """SIGTERM to all that are left. Only after `watch` was cancelled."""
        going = [self._part_from(worker) for worker in self._workers]
        await asyncio.gather(*going, *self._leaving)
        self._workers.clear()

    def abandon(self) -> None:
        """End all, however they are."""
        for worker in self._workers:
            worker.stop()

    async def _part_from(self, worker: WorkerProcess) -> None:
        starting = not worker.ready
        try:
            code = await asyncio.to_thread(worker.leave, LEAVE_S)
        except TimeoutError as error:
            self.died.append(f"{worker.name}: {error}")
            worker.stop()
            return
        # Before it listens for signals a worker has taken nothing on, and SIGTERM ends it at once.
        if code != 0 and not (starting and code == -signal.SIGTERM):
            self.died.append(f"{worker.name} left with exit status {code}: {worker.log[-2000:]}")

    def _pick(self, choice: float) -> WorkerProcess | None:
        """One that is at work rather than one that is starting, most of the time."""
        alive = [worker for worker in self._workers if worker.alive]
        ready = [worker for worker in alive if worker.ready]
        among = ready if ready and choice > STARTING else alive
        return among[int(choice * len(among))] if among else None

    def _take(self, choice: float) -> WorkerProcess | None:
        worker = self._pick(choice)
        if worker is not None:
            self._workers.remove(worker)
        return worker
