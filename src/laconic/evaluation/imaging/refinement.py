"""Volumes and poses from a STAR file: `imaging.poses` on files, resumable after each round."""

import hashlib
import json
from collections.abc import Callable
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor

from laconic.data.microscopy.particles import Particles
from laconic.errors import InputError
from laconic.evaluation.imaging.reconstruction import Reconstruction, half_sets
from laconic.evaluation.imaging.views import shifts_of, transfer_of
from laconic.imaging.poses import rounds
from laconic.imaging.poses.axes import laid_on_axes
from laconic.imaging.poses.posterior import TENSORS, Poses
from laconic.imaging.poses.rounds import Refined, RefineSettings, State
from laconic.imaging.poses.search import SearchSettings
from laconic.imaging.rotations import symmetry, to_angles
from laconic.imaging.slices import largest_band, phases, to_images, to_slices

LEAST_IMAGES = 10
Tick = Callable[[int, int], None]


@dataclass(frozen=True)
class Settings:
    """How to refine.

    Attributes:
        group: the volume's symmetry, by name: C<n> or D<n>.
        low_pass: wavelength in angstroms below which the first map is not used.
        shifts: largest shift from the file's origins, in angstroms.
        spacing: of the first grid of rotations, in degrees.
        rounds: at most so many.
        finest: wavelength in angstroms below which nothing is compared; None: all that pixels show.
        invert: the files' particles are black.
        correct_transfer: use the contrast transfer function where its parameters are known.
        independent: half sets are searched in references of their own images alone.
        supported: volumes are zero outside of the particle.
    """

    group: str = "C1"
    low_pass: float = 40.0
    shifts: float = 10.0
    spacing: float = 7.5
    rounds: int = 10
    finest: float | None = None
    invert: bool = False
    correct_transfer: bool = True
    independent: bool = False
    supported: bool = True

    def __post_init__(self) -> None:
        symmetry(self.group)
        if not 0 < self.spacing <= 30:
            raise InputError(f"angle: {self.spacing:g} is not in (0, 30] degrees")
        for name in ("low_pass", "finest"):
            value = getattr(self, name)
            if value is not None and not 0 < value < float("inf"):
                raise InputError(f"{name.replace('_', '-')}: {value:g} is not a positive number")

    def of_images(self, particles: Particles) -> RefineSettings:
        """The same in pixels and frequencies of the images.

        Raises:
            InputError: shifts or the low-pass filter do not fit the box.
        """
        size, pixel = particles.size, particles.pixel_size
        if self.shifts > size * pixel / 4:
            raise InputError(
                f"shifts: {self.shifts:g} angstroms are more than a quarter of the box of "
                f"{size * pixel:.0f}; centre the particles, or give smaller ones"
            )
        most = largest_band(size)
        smaller = min(len(part) for part in half_sets(particles))
        return RefineSettings(
            band=min(size * pixel / self.low_pass, most),
            group=self.group,
            rounds=self.rounds,
            search=SearchSettings(spacing=self.spacing, reach=self.shifts / pixel),
            last_band=None if self.finest is None else min(size * pixel / self.finest, most),
            parts=min(rounds.PARTS, 2 * smaller),
            independent=self.independent,
            supported=self.supported,
        )


class FileImages:
    """A STAR file's images, moved to the origins that the file names.

    Args:
        particles: of the file.
        settings: how.
    """

    def __init__(self, particles: Particles, settings: Settings) -> None:
        self.size = particles.size
        self._particles, self._settings = particles, settings
        self._shifts = shifts_of(particles)

    def __len__(self) -> int:
        return len(self._particles)

    def batch(self, numbers: Tensor) -> tuple[Tensor, Tensor | None]:
        """Some images and their transfer functions."""
        chosen = numbers.numpy()
        images = torch.from_numpy(self._particles.images(chosen))
        moves = self._shifts[numbers]
        if bool((moves != 0).any()):
            spectra = to_slices(images)
            images = to_images(spectra * phases(-moves, self.size, spectra), self.size)
        correct = self._settings.correct_transfer
        transfer = transfer_of(self._particles, chosen) if correct else None
        return (-images if self._settings.invert else images), transfer


def refine(
    particles: Particles,
    volume: NDArray[np.float32],
    settings: Settings,
    saved: Path | None = None,
    tick: Tick = lambda done, total: None,
) -> tuple[Reconstruction, Refined]:
    """Refine the poses of particles and the volume.

    Args:
        particles: their angles are not used; their origins are where shifts are searched.
        volume: the map to start from, of the images' box; it is low-passed first, and turned onto
            its symmetry axes.
        settings: how.
        saved: a file for the state after each round; it is read if it is there, and removed at the
            end.
        tick: called with the images searched so far, over all rounds, and the most there may be.

    Raises:
        InputError: too few particles, or a map or settings that do not fit.
    """
    if len(particles) < LEAST_IMAGES:
        raise InputError(
            f"the STAR file has {len(particles)} particles; poses take {LEAST_IMAGES} or more"
        )
    chosen = settings.of_images(particles)
    images = FileImages(particles, settings)
    digest = _digest(particles, volume, settings)
    state = _resume(saved, digest, settings.group)
    if state is None:
        first = rounds.start(images, torch.from_numpy(volume), chosen)
        low, _ = laid_on_axes(first.references[0], symmetry(settings.group), chosen.band)
        state = replace(first, references=(low,) * chosen.parts)
    sets = half_sets(particles)
    halves = (torch.from_numpy(sets[0]), torch.from_numpy(sets[1]))

    def save(found: State) -> None:
        if saved is not None:
            _save(saved, found, digest)

    refined = rounds.refine(images, halves, state, chosen, tick=tick, save=save)
    if saved is not None:
        saved.unlink(missing_ok=True)
    pixel, count = particles.pixel_size, len(particles)
    shown = Reconstruction(refined.whole, refined.halves, refined.correlation, pixel, count)
    return shown, refined


def posed(particles: Particles, poses: Poses) -> tuple[Particles, dict[str, NDArray[np.float64]]]:
    """Particles at their best poses, and the columns that say how sure those are.

    Args:
        particles: whose origins the poses' shifts are relative to.
        poses: of all of them.

    Returns:
        The particles; the weight of the best mode (rlnMaxValueProbDistribution), the entropy of
        the modes in nats and the spread in degrees (laconicPoseEntropy, laconicPoseSpread).
    """
    found = replace(
        particles,
        angles=to_angles(poses.rotations[:, 0]).numpy(),
        origins=particles.origins - particles.pixel_size * poses.shifts[:, 0].numpy(),
    )
    return found, {
        "rlnMaxValueProbDistribution": poses.weights[:, 0].double().numpy(),
        "laconicPoseEntropy": poses.entropy().double().numpy(),
        "laconicPoseSpread": poses.spread().double().numpy(),
    }


def summary(refined: Refined) -> dict[str, Any]:
    """How sure the poses are, for JSON."""
    spread = refined.poses.spread()
    return {
        "pose_spread_degrees": round(float(spread.median()), 3),
        "pose_entropy_nats": round(float(refined.poses.entropy().mean()), 4),
    }


def _digest(particles: Particles, volume: NDArray[np.float32], settings: Settings) -> str:
    """What the rounds depend on, as a hash; the number of rounds may grow."""
    facts = asdict(settings) | {"rounds": 0, "pixel": particles.pixel_size}
    parts = [json.dumps(facts, sort_keys=True)]
    parts += [f"{path.resolve()} {path.stat().st_mtime_ns}" for path in particles.stacks]
    digest = hashlib.sha256("\n".join(parts).encode())
    for array in (volume, particles.origins, particles.stack, particles.index):
        digest.update(np.ascontiguousarray(array).tobytes())
    return digest.hexdigest()


def _save(path: Path, state: State, digest: str) -> None:
    assert state.poses is not None
    tensors = {name: getattr(state.poses, name).contiguous() for name in TENSORS}
    tensors["references"] = torch.stack(state.references)
    tensors["noise"] = state.noise.contiguous()
    facts = {"done": state.done, "band": state.band, "settled": state.settled, "digest": digest}
    temporary = path.with_name(path.name + ".new")
    save_file(tensors, temporary, {"state": json.dumps(facts)})
    temporary.replace(path)


def _resume(path: Path | None, digest: str, group: str) -> State | None:
    """What was saved, if anything was."""
    if path is None or not path.exists():
        return None
    try:
        with safe_open(path, "pt") as file:
            facts = json.loads((file.metadata() or {})["state"])
            found = {name: file.get_tensor(name) for name in (*TENSORS, "references", "noise")}
    except (SafetensorError, KeyError, ValueError) as error:
        raise InputError(f"{path}: not what a refinement leaves; remove it to start again") from (
            error
        )
    if facts["digest"] != digest:
        raise InputError(
            f"{path}: left by a run with other particles or settings; remove it to start again"
        )
    poses = Poses(**{name: found[name] for name in TENSORS}, group=symmetry(group))
    references = tuple(found["references"])
    return State(facts["done"], facts["band"], references, found["noise"], poses, facts["settled"])
