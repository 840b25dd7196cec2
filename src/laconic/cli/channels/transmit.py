"""`laconic transmit`: what arrives of a picture over a noisy channel, by two kinds of systems."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from laconic.cli.common import as_file, extras, naming, print_json, warn
from laconic.cli.outputs import STDIO, Force, Writer, format_of, to_path
from laconic.errors import MissingPackageError

if TYPE_CHECKING:
    from laconic.channels.gaussian import NoisyChannel
    from laconic.evaluation.channels.digital import Outcome, SourceCodec
    from laconic.evaluation.channels.joint import JointOutcome
    from laconic.metrics.images import Image8

CODECS = "webp,jpeg"
"""Source codecs of the digital baseline; the best one is sent."""
OURS = "lac"
"""Name of our own image codec among them."""


def transmit(
    image: Annotated[Path, typer.Argument(parser=to_path, metavar="IMAGE", help="The picture.")],
    snr: Annotated[
        float, typer.Option("--snr", help="Signal over noise per complex use, in dB.")
    ] = 10.0,
    bandwidth: Annotated[
        float, typer.Option(help="Complex channel uses over samples, 3 height width.")
    ] = 1 / 12,
    channel: Annotated[str, typer.Option(help="awgn, or rayleigh-slow.")] = "awgn",
    out: Annotated[
        Path | None,
        typer.Option("-o", "--out", parser=to_path, metavar="PATH", help="The picture received."),
    ] = None,
    html: Annotated[
        Path | None,
        typer.Option("--html", parser=to_path, metavar="PATH", help="A page with all pictures."),
    ] = None,
    model: Annotated[
        Path | None, typer.Option(metavar="FILE", help="A joint system's .lac file.")
    ] = None,
    against: Annotated[
        str, typer.Option(help="Codecs of the digital baseline, such as webp,heif,lac; or none.")
    ] = CODECS,
    seed: Annotated[int, typer.Option(help="Seed of the channel.")] = 0,
    force: Force = False,
    as_json: Annotated[bool, typer.Option("--json", help="One JSON object on stdout.")] = False,
) -> None:
    """Send a picture over a noisy channel: the joint system beside the digital baseline.

    Both get the same channel uses. The baseline is the best of the source codecs behind 5G LDPC
    codes and QAM, and, as a bound that no code reaches, behind a code at capacity.
    """
    outputs = [(out, "-o"), (html, "--html")]
    for path, option in outputs:
        if path is not None:
            Writer([image], force, option).check(path)
    if out is not None:
        format_of(out)
    with extras("channels need", "eval"):
        from laconic.data.folders import load_rgb
        from laconic.pretrained.channels import load_system

    system, made = load_system(model), make_noisy(channel, snr)
    with as_file(image) as path, naming(image):
        pixels = load_rgb(path)
        joint = _joint(system, pixels, made, bandwidth, seed)
    digital = {} if against == "none" else _digital(pixels, joint, made, against, seed)
    if out is not None:
        Writer([image], force).write(out, picture_bytes(joint.picture, out))
    if html is not None:
        page = _page(image, pixels, joint, digital, made, bandwidth)
        Writer([image], force, "--html").write(html, page.encode())
    _print(image, out, joint, digital, as_json)


def make_noisy(name: str, snr_db: float) -> "NoisyChannel":
    """A channel of complex uses; raises `ConfigError` where it cannot be."""
    from laconic.channels import CHANNELS
    from laconic.channels.gaussian import NoiseConfig
    from laconic.errors import ConfigError
    from laconic.evaluation.channels.joint import check_channel

    if name not in ("awgn", "rayleigh-slow"):
        raise ConfigError(f"channel: '{name}' is not one of awgn, rayleigh-slow")
    made: NoisyChannel = CHANNELS[name][1](NoiseConfig(snr_db))
    check_channel(made)
    return made


def _joint(
    system: Any, pixels: "Image8", channel: "NoisyChannel", bandwidth: float, seed: int
) -> "JointOutcome":
    import torch

    from laconic.evaluation.channels.joint import transmit_joint

    torch.manual_seed(seed)
    return transmit_joint(system, pixels, channel, bandwidth)


def _digital(
    pixels: "Image8", joint: "JointOutcome", channel: "NoisyChannel", against: str, seed: int
) -> "dict[str, Outcome]":
    """The baseline over real codes, where Sionna is installed, and at capacity."""
    import torch

    from laconic.errors import UnreachableTargetError
    from laconic.evaluation.channels import digital

    sources = _sources([name.strip() for name in against.split(",")])
    found: dict[str, Outcome] = {}
    try:
        link = digital.best_link(channel.config.snr_db, joint.budget.uses, channel)
        torch.manual_seed(seed)
        found["digital"] = digital.transmit_best(pixels, sources, link, channel)
    except (MissingPackageError, UnreachableTargetError) as error:
        warn(str(error))
    bounds = [digital.CapacitySystem(source, joint.budget).transmit(pixels) for source in sources]
    found["capacity"] = max(bounds, key=lambda one: one.psnr_db)
    return found


def _sources(names: list[str]) -> "list[SourceCodec]":
    """Source codecs by name; `OURS` is our image codec, on squared error."""
    from laconic.codecs.image.codec import ImageCodec
    from laconic.evaluation.anchors.classical import find_anchors
    from laconic.evaluation.channels.digital import SourceCodec
    from laconic.evaluation.images.ours import OurCodec
    from laconic.pretrained import load

    found = [SourceCodec(anchor) for anchor in find_anchors([n for n in names if n != OURS])]
    if OURS in names:
        loaded = load()
        tune = "psnr" if loaded.model.has_taste else None
        codec = ImageCodec(loaded.model, loaded.name, loaded.fingerprint, tune=tune)
        found.append(SourceCodec(OurCodec(codec)))
    return found


def picture_bytes(picture: "Image8", target: Path) -> bytes:
    """The picture as a file in the format of the target's ending, with losses where it has them."""
    from PIL import Image

    from laconic.data.writing import image_bytes

    return image_bytes(Image.fromarray(picture), format_of(target), target)


def _page(
    image: Path,
    pixels: "Image8",
    joint: "JointOutcome",
    digital: "dict[str, Outcome]",
    channel: "NoisyChannel",
    bandwidth: float,
) -> str:
    from laconic.evaluation.channels.page import Shown, decibels, render

    shown: list[Shown] = [Shown("Sent", pixels, [f"{pixels.shape[1]} x {pixels.shape[0]} pixels"])]
    facts = [f"PSNR {decibels(joint.psnr_db)}", f"{joint.bands} bands, {joint.seconds:.2f} s"]
    shown.append(Shown("Joint system", joint.picture, facts))
    titles = {"digital": "Digital baseline", "capacity": "Bound: a code at capacity"}
    for name, one in digital.items():
        lost = ["nothing arrived"] if one.is_outage else []
        facts = [f"PSNR {decibels(one.psnr_db)}", one.label, f"{one.file_bits:,} bits", *lost]
        shown.append(Shown(titles[name], one.picture, facts))
    budget = joint.budget
    subtitle = (
        f"{channel.config.snr_db:g} dB per complex use, bandwidth {bandwidth:.4g}: {budget.uses:,} "
        f"complex uses, which carry {budget.bits:,.0f} bits at most."
    )
    return render(f"{image.name} over a noisy channel", subtitle, shown)


def _print(
    image: Path,
    out: Path | None,
    joint: "JointOutcome",
    digital: "dict[str, Outcome]",
    as_json: bool,
) -> None:
    """The numbers, as a line for each system or as JSON."""
    budget = joint.budget
    if as_json:
        rows = {
            name: {
                "psnr_db": one.psnr_db if one.psnr_db != float("inf") else None,
                "bits": one.file_bits,
                "label": one.label,
                "outage": one.is_outage,
            }
            for name, one in digital.items()
        }
        first = {"psnr_db": joint.psnr_db, "bands": joint.bands, "seconds": joint.seconds}
        facts = {"input": str(image), "output": None if out is None else str(out)}
        known = {"complex_uses": budget.uses, "capacity_bits": budget.bits}
        print_json({**facts, **known, "joint": first, **rows})
        return
    lines = [
        f"{image}: {budget.uses:,} complex uses, {budget.bits:,.0f} bits at most",
        f"joint     {joint.psnr_db:6.2f} dB  {joint.bands} bands, {joint.seconds:.2f} s",
    ]
    for name, one in digital.items():
        lost = ", nothing arrived" if one.is_outage else ""
        lines.append(f"{name:9s} {one.psnr_db:6.2f} dB  {one.label}, {one.file_bits:,} bits{lost}")
    for line in lines:
        typer.echo(line, err=out == STDIO)
