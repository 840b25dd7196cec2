"""Engines: where the jobs of a command run, each whole or not at all.

| engine | where |
|---|---|
| `here` | in this process, one after another |
| `local` | in processes of this machine, one job each at a time |
| `ray` | on the machines of a Ray cluster |
"""

from laconic.corpus.engines.base import Died, Engine, Job, Result
from laconic.corpus.engines.here import Here
from laconic.corpus.engines.local import Local, core_count

__all__ = ["ENGINES", "Died", "Engine", "Here", "Job", "Local", "Result", "core_count", "make"]

ENGINES = ("local", "ray")
"""Names that a user may give."""


def make(name: str, jobs: int, address: str | None = None) -> Engine:
    """An engine by its name.

    Args:
        name: "local" or "ray".
        jobs: processes at once; of `local`, 1 means this process. With an address the cluster's own
            number of processors counts.
        address: of a Ray cluster; None: Ray is started on this machine.

    Raises:
        ConfigError: the name is unknown, or the address is of another engine than Ray.
        MissingPackageError: Ray is not installed.
    """
    from laconic.errors import ConfigError

    if name not in ENGINES:
        raise ConfigError(f"engine {name!r}: choose one of {', '.join(ENGINES)}")
    if name == "ray":
        from laconic.corpus.engines.ray import Ray

        return Ray(jobs, address)
    if address is not None:
        raise ConfigError("an address is that of a Ray cluster; give it with --engine ray")
    return Here() if jobs == 1 else Local(jobs)
