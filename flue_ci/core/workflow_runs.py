"""Runs of workflows on a forge, their jobs and artifacts: the values, and the seam for a forge that has them."""

from dataclasses import dataclass
from typing import Protocol, runtime_checkable


@dataclass(frozen=True, slots=True, kw_only=True)
class WorkflowRun:
    """A run of a workflow. `workflow` is its file, relative to the repository, "" for one of another repository;
    `event`, `status` and `conclusion` are the API's own words. `branch` and `head_sha` are those that it ran for, of
    the repository `head_repo_id` (None: it is gone); `attempt` is the latest one."""

    id: int
    attempt: int = 1
    workflow: str = ""
    event: str = ""
    status: str = ""
    conclusion: str = ""
    branch: str = ""
    head_sha: str = ""
    repo_id: int = 0
    head_repo_id: int | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class StoredArtifact:
    """An artifact of a run. `digest` is the SHA-256 of its archive in hexadecimal, "" where the forge names none."""

    id: int
    name: str
    size_bytes: int = 0
    digest: str = ""
    is_expired: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class WorkflowStep:
    """A step of a job. The times are RFC 3339 in whole seconds, "" where the forge names none."""

    name: str
    started_at: str = ""
    completed_at: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class WorkflowJob:
    """A job of a run, and its steps that failed, in order."""

    id: int
    name: str
    conclusion: str = ""
    url: str = ""
    failed_steps: tuple[WorkflowStep, ...] = ()


@runtime_checkable
class ActionsForge(Protocol):
    """A forge that runs workflows, and keeps their logs and artifacts. What it gives is hostile: anybody who can change
    a workflow on some branch, or in a fork, chooses it. Raises `ForgeError`; status 404 or 410: it is gone."""

    async def workflow_run(self, run_id: int) -> WorkflowRun: ...

    async def artifacts(self, run_id: int, name: str) -> list[StoredArtifact]:
        """Those of exactly that name, of all attempts of the run."""

    async def download_artifact(self, artifact: StoredArtifact, limit: int) -> bytes:
        """The archive. `ForgeError` when it has more than `limit` bytes."""

    async def jobs(self, run_id: int, attempt: int) -> list[WorkflowJob]: ...

    async def job_log(self, job_id: int, limit: int) -> bytes:
        """The log of a job that ended. `ForgeError` when it has more than `limit` bytes."""

    async def rerun_failed_jobs(self, run_id: int) -> None:
        """Starts another attempt of the run with the jobs that failed."""
