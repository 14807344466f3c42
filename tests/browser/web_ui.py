"""The Dagster web UI on a project, as `dor-ecco ui` starts it, with every process it starts."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import socket
import subprocess
import time
import urllib.error
import urllib.request
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self

import psutil

from tests.support.kill import run

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

#: From the start of the command to the first answer: 8 s on an idle machine, minutes on a full one.
START_S = 240
#: A backfill of a year waits up to 30 s for the daemon and up to 5 s for the run queue.
BACKFILL_S = 300
#: How long Dagster may take to end by itself.
GRACE_S = 15


class WebUi:
    """Web server, daemon and code server on one project; all of them end with the `with` block."""

    def __init__(
        self, project: Path, bin_folder: Path, environment: Mapping[str, str] | None = None
    ) -> None:
        self.project = project
        self._bin = bin_folder
        self._environment = {**os.environ, **(environment or {})}
        self.port = _free_port()
        self.url = f"http://127.0.0.1:{self.port}"
        self.log = project / "ui.log"

    def __enter__(self) -> Self:
        command = [self._bin / "dor-ecco", "ui", "--project", self.project]
        with self.log.open("wb") as log:
            self._leader = subprocess.Popen(
                [*map(str, command), "--port", str(self.port)],
                cwd=self.project,
                env=self._environment,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )
        try:
            self.wait_for(self._answers, START_S, "the web server's first answer")
        except BaseException:
            self.end()
            raise
        return self

    def __exit__(self, *error: object) -> None:
        self.end()

    def end(self) -> None:
        """End the command, then whatever of its session is left: Dagster can outlive its parent."""
        with contextlib.suppress(ProcessLookupError):
            self._leader.send_signal(signal.SIGTERM)
        deadline = time.monotonic() + GRACE_S
        while self.processes() and time.monotonic() < deadline:
            self._leader.poll()
            time.sleep(0.1)
        for process in self.processes():
            with contextlib.suppress(psutil.NoSuchProcess):
                process.kill()
        self._leader.wait()
        while left := self.processes():
            assert time.monotonic() < deadline + GRACE_S, f"{left} survive SIGKILL"
            time.sleep(0.1)

    def processes(self) -> list[psutil.Process]:
        """Living processes of the session that the command leads."""
        members = []
        for process in psutil.process_iter():
            with contextlib.suppress(psutil.Error, OSError):
                ours = os.getsid(process.pid) == self._leader.pid
                if ours and process.status() != psutil.STATUS_ZOMBIE:
                    members.append(process)
        return members

    def wait_for(self, ready: Callable[[], bool], seconds: float, what: str) -> None:
        """Ask until the answer is yes; fail with the log where it does not come."""
        deadline = time.monotonic() + seconds
        while not ready():
            if time.monotonic() > deadline or self._leader.poll() is not None:
                log = self.log.read_text(errors="replace")[-3000:]
                raise TimeoutError(f"no sign of {what} in {seconds:.0f} s\n{log}")
            time.sleep(0.5)

    def _answers(self) -> bool:
        """Whether the server answers and has loaded the code location."""
        try:
            found = self.ask("{repositoriesOrError{...on RepositoryConnection{nodes{name}}}}")
        except (urllib.error.URLError, ConnectionError, TimeoutError):
            return False
        return bool(found["repositoriesOrError"].get("nodes"))

    def ask(self, query: str, **variables: Any) -> Any:
        """Data of a GraphQL query."""
        request = urllib.request.Request(
            f"{self.url}/graphql",
            data=json.dumps({"query": query, "variables": variables}).encode(),
            headers={"Content-Type": "application/json"},
        )
        with urllib.request.urlopen(request, timeout=60) as response:
            answer = json.load(response)
        assert "errors" not in answer, answer["errors"]
        return answer["data"]

    # What the instance holds

    def asset(self, key: str, fields: str) -> Any:
        """Fields of one asset."""
        query = (
            "query($key: AssetKeyInput!) {assetNodeOrError(assetKey: $key) {...on AssetNode {%s}}}"
        )
        return self.ask(query % fields, key={"path": key.split("/")})["assetNodeOrError"]

    def partitions(self, key: str) -> dict[str, int]:
        """How many partitions are materialised, failed and being materialised."""
        fields = "partitionStats {numMaterialized numFailed numMaterializing}"
        return self.asset(key, fields)["partitionStats"]

    def materialisations(self, key: str, partition: str | None = None) -> list[dict[str, Any]]:
        """Materialisations of one asset, newest first, their metadata as plain values."""
        chosen = "" if partition is None else f'(partitions: ["{partition}"])'
        fields = f"assetMaterializations{chosen} {{runId partition metadataEntries {{{_ENTRY}}}}}"
        return [
            {**found, "metadata": {e["label"]: _value(e) for e in found["metadataEntries"]}}
            for found in self.asset(key, fields)["assetMaterializations"]
        ]

    def check(self, key: str) -> dict[str, Any] | None:
        """What the asset's page shows of its check `inputs_usable`; None if not evaluated."""
        fields = (
            "assetChecksOrError {...on AssetChecks {checks {name executionForLatestMaterialization"
            f" {{status evaluation {{success description metadataEntries {{{_ENTRY}}}}}}}}}}}}}"
        )
        checks = self.asset(key, fields)["assetChecksOrError"]["checks"]
        (found,) = (check for check in checks if check["name"] == "inputs_usable")
        execution = found["executionForLatestMaterialization"]
        if execution is None or execution["evaluation"] is None:
            return None
        evaluation = execution["evaluation"]
        metadata = {e["label"]: _value(e) for e in evaluation["metadataEntries"]}
        return {**evaluation, "status": execution["status"], "metadata": metadata}

    def runs(self) -> dict[str, dict[str, str]]:
        """Status of every run and its tags, by run id."""
        query = "{runsOrError {...on Runs {results {runId status tags {key value}}}}}"
        return {
            run["runId"]: {
                "status": run["status"],
                **{tag["key"]: tag["value"] for tag in run["tags"]},
            }
            for run in self.ask(query)["runsOrError"]["results"]
        }

    # Doing things

    def launch_backfill(self, key: str, partitions: Sequence[str]) -> str:
        """Ask for a backfill as the page does; its id."""
        found = self.ask(
            "mutation($p: LaunchBackfillParams!) {launchPartitionBackfill(backfillParams: $p)"
            " {__typename ...on LaunchBackfillSuccess {backfillId}}}",
            p={"assetSelection": [{"path": key.split("/")}], "partitionNames": list(partitions)},
        )["launchPartitionBackfill"]
        return found["backfillId"]

    def newest_backfill(self) -> str:
        """Id of the backfill that was asked for last."""
        query = "{partitionBackfillsOrError(limit: 1) {...on PartitionBackfills {results {id}}}}"
        return self.ask(query)["partitionBackfillsOrError"]["results"][0]["id"]

    def finished_backfill(self, backfill: str) -> str:
        """How a backfill ended, when it has."""
        query = (
            "query($id: String!) {partitionBackfillOrError(backfillId: $id)"
            " {...on PartitionBackfill {status}}}"
        )
        status = ""

        def ended() -> bool:
            nonlocal status
            status = self.ask(query, id=backfill)["partitionBackfillOrError"]["status"]
            return status.startswith(("COMPLETED", "FAILED", "CANCELED"))

        self.wait_for(ended, BACKFILL_S, f"the end of backfill {backfill}")
        return status

    def shell(self, line: str) -> str:
        """What a command line prints, in a shell that finds the installed commands."""
        path = f"{self._bin}{os.pathsep}{os.environ['PATH']}"
        argv = ["/bin/sh", "-ec", line]
        return run(argv, env={"PATH": path}, cwd=self.project, timeout_s=600).check().stdout


_ENTRY = (
    "label __typename ...on FloatMetadataEntry {floatValue} ...on IntMetadataEntry {intRepr}"
    " ...on TextMetadataEntry {text} ...on PathMetadataEntry {path} ...on BoolMetadataEntry"
    " {boolValue} ...on JsonMetadataEntry {jsonString} ...on MarkdownMetadataEntry {mdStr}"
)


def _value(entry: dict[str, Any]) -> Any:
    if "jsonString" in entry:
        return json.loads(entry["jsonString"])
    if "intRepr" in entry:
        return int(entry["intRepr"])
    (value,) = (value for name, value in entry.items() if name not in ("label", "__typename"))
    return value


def _free_port() -> int:
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        return listener.getsockname()[1]
