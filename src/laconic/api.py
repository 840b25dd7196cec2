"""What `import laconic` offers: pictures, archives, maps and networks to .lac files and back.

Everything heavy is imported inside the functions, so that `import laconic` stays quick.
"""

from collections.abc import Iterable, Iterator, Mapping
from functools import cached_property
from io import BytesIO
from pathlib import Path
from typing import TYPE_CHECKING, Any

from PIL import Image

from laconic.arguments import (
    PathLike,
    Source,
    check_counts,
    check_numbers,
    is_path,
    to_bytes,
    to_path,
    to_picture,
    to_pictures,
    to_stored,
)
from laconic.codecs.base import Codec, Content, Crop, Decoding, FileInfo, open_file
from laconic.cores import limited, take_limited
from laconic.deep_image import DeepImage
from laconic.errors import InputError
from laconic.pretrained import decoding, lossless_codec, model_name
from laconic.progress import Progress, silent

if TYPE_CHECKING:
    from numpy.typing import NDArray
    from torch import Tensor
    from torch.nn import Module

    from laconic.arguments import Known, Picture
    from laconic.codecs.image.bits import LevelBits
    from laconic.distributions.prediction import Prediction, RegressionPrediction
    from laconic.map_file import MapFile


def compress(
    image: "Picture",
    quality: float | None = None,
    bpp: float | None = None,
    coder: str | None = None,
    *,
    tune: str | None = None,
    lossless: bool = False,
    frame: int | None = None,
    effort: int | None = None,
    strip: bool = False,
    model: PathLike | None = None,
    threads: int | None = None,
    progress: Progress | None = None,
) -> bytes:
    """Compress an image into the bytes of a .lac file.

    The file is lossless, whatever the quality, where that takes no more bytes; and from quality 95
    on also where a lossy file is too far from the picture. Name a `coder` to have it lossy.

    Args:
        image: path of an image file, its bytes, or a binary file; Pillow image; or array or tensor
            `(h, w)` or `(h, w, 1 to 4)`, uint8 or uint16; with `lossless` also bool.
        quality: 1 (smallest) to 100 (best), 50 if neither this nor `bpp` is given.
        bpp: instead: bits per pixel of the whole file; the largest file not above it is taken.
        coder: "rejection", "importance", "greedy", "is-gs"; None: the best one measured.
        tune: what the picture is made for, of models that have taste: "psnr" (squared error),
            "ms-ssim" (structure) or "balanced", which is taken if nothing is given.
        lossless: keep every pixel as it is, and the colour profile; nothing above is given then.
        frame: of an animation or a file of several pages, the one to take, from 1. None: of a lossy
            file the first, with a warning; `lossless` refuses several frames then.
        effort: 0 (fastest) to 9 (smallest). If it is not given: 5 for lossless coding, 0 for lossy
            coding, where more takes seconds to minutes for each picture; decoding is the same.
        strip: leave out EXIF and XMP data and dots per inch, which are kept otherwise.
        model: name of an embedded model, or path of one; None: the one embedded for this.
        threads: at most so many are used; None: as many as torch has.
        progress: called with the parts done and the parts in all.

    Raises:
        InputError: the image cannot be read, or the request is impossible.

    Example:
        `data = laconic.compress("photo.png", quality=60)`
    """
    if lossless and not all(one is None for one in (quality, bpp, coder, tune)):
        raise InputError("lossless keeps every pixel: leave out quality, bpp, coder and tune")
    if quality is not None and bpp is not None:
        raise InputError("give quality or bpp, not both")
    check_numbers(quality=quality, bpp=bpp)
    check_counts(threads=threads, frame=frame)
    given = to_picture(image)
    if not isinstance(given, Path | BytesIO | Image.Image) and frame is not None:
        raise InputError("frame is for files of several pictures; an array has one")

    if lossless:
        with limited(threads):
            return lossless_codec(model, threads, progress, effort).encode(
                _read_exact(given, frame), strip
            )
    from laconic import pretrained
    from laconic.codecs.image.codec import ImageCodec
    from laconic.codecs.image.requests import RequestCodec
    from laconic.coding.relative_entropy import DEFAULT_CODER

    loaded = pretrained.load(model_name(model) or pretrained.DEFAULT)
    codec = ImageCodec(
        loaded.model,
        loaded.name,
        loaded.fingerprint,
        coder or DEFAULT_CODER,
        threads=threads,
        progress=progress,
        tune=tune,
        effort=effort or 0,
    )
    quality = 50 if quality is None else quality
    if coder is not None:
        return codec.encode(_read(given, frame), quality, bpp, strip=strip)
    exact = lossless_codec(None, threads, progress, effort)
    with limited(threads):
        return RequestCodec(codec, exact).encode(_read(given, frame), quality, bpp, strip)


def _read_exact(given: "Known", frame: int | None) -> "Image.Image | DeepImage | NDArray[Any]":
    """The picture that is compressed losslessly; only the codec holds it."""
    from laconic.data.exact_images import read_exact

    return read_exact(given, frame) if isinstance(given, Path | BytesIO | Image.Image) else given


def _read(given: "Known", frame: int | None) -> "Image.Image | NDArray[Any]":
    """The picture that is compressed; only the codec holds it, and drops it when it can."""
    from laconic.data.images import read_image

    if isinstance(given, DeepImage):
        return given.to_eight_bits()
    return read_image(given, frame) if isinstance(given, Path | BytesIO | Image.Image) else given


def decompress(
    source: Source,
    *,
    partial: bool = False,
    crop: tuple[int, int, int, int] | None = None,
    max_pixels: int | None = None,
    model: PathLike | None = None,
    dtype: str = "float32",
    threads: int | None = None,
    progress: Progress | None = None,
) -> Image.Image | DeepImage:
    """Decode a .lac file of one picture, lossy or lossless.

    Returns:
        A Pillow image. Colour of 16 bits and grey of 16 bits with alpha, for which Pillow has no
        mode, are a `DeepImage`: `numpy.asarray` gives its samples, uint16 `(h, w, channels)`, and
        `.save` writes them.

    Args:
        source: path of the file, its bytes, or a binary file.
        partial: of a lossy file that is truncated or damaged, show the levels of detail that are
            left, with a warning (`PartialPictureWarning`) that says how many.
        crop: x, y, width and height of the part that is wanted, in pixels of the whole picture,
            which has them exactly so; only the tiles that it needs are read and decoded.
        max_pixels: a larger picture, or part, is refused before memory is taken for it; None: 2^28,
            the most that a file holds.
        model: name or path of the model that wrote it; None: the embedded one that the file names.
        dtype: precision of lossy networks, "float32", "bfloat16" or "float64".
        threads: at most so many are used; None: as many as torch has.
        progress: called with tiles done and tiles in all.

    Raises:
        CorruptFileError: the file is damaged.
        UnsupportedFileError: it needs another model or a newer laconic, or is an archive.
        InputError: the crop is not inside the picture.

    Example:
        `laconic.decompress("photo.lac").save("photo.png")`
    """
    check_counts(threads=threads, max_pixels=max_pixels)
    lazy = crop is not None and not partial
    file = open_file(to_stored("source", source), rescue=partial, lazy=lazy)
    file.expect(Content.PICTURE)
    part = None if crop is None else Crop.of(crop)
    with limited(threads):
        return _only_picture(file, decoding(model, threads, progress, dtype, part, max_pixels))


def thumbnail(
    source: Source,
    size: int | tuple[int, int] = 256,
    *,
    partial: bool = False,
    model: PathLike | None = None,
    threads: int | None = None,
) -> Image.Image:
    """A small version of the picture of a .lac file.

    Of a lossy file only the top levels are decoded, as many as the size needs; `info` says with how
    many of the file's bytes each level can be shown.

    Args:
        source: path of the file, its bytes, or a binary file.
        size: most columns and rows, one number for both or two. The picture keeps its proportions
            and is not enlarged.
        partial: as `decompress` has it; the beginning of a file is enough then.
        model: name or path of the model that wrote it; None: the embedded one that the file names.
        threads: at most so many are used; None: as many as torch has.

    Raises:
        CorruptFileError: the file is damaged.
        UnsupportedFileError: it needs another model or a newer laconic, or holds no single picture.
        InputError: the size is no size.

    Example:
        `laconic.thumbnail("photo.lac", 128).save("small.png")`
    """
    sides = size if isinstance(size, tuple) else (size, size)
    if len(sides) != 2:
        raise InputError(f"size is {size!r}, give one number, or columns and rows")
    check_counts(threads=threads, size=sides[0])
    check_counts(size=sides[1])
    file = open_file(to_bytes("source", source), rescue=partial)
    info = file.describe()
    reductions = [(info.width or 1) / sides[0], (info.height or 1) / sides[1]]
    image = file.preview(decoding(model, threads), max(1.0, *reductions))
    if image.mode == "1":
        image = image.convert("L")
    image.thumbnail(sides)
    return image


def bits_map(
    source: Source,
    *,
    model: PathLike | None = None,
    threads: int | None = None,
    progress: Progress | None = None,
) -> "tuple[LevelBits, ...]":
    """Where the bits of a file of one picture went.

    Of a lossy file, the estimated KL of every place of every level: only the latents are decoded,
    not the picture. The sum of all levels is the KL that the file records,
    `laconic.open(source).info.ideal_bits`. Of a lossless file, the code length of every
    pixel, colour by colour; where it is coded without the model, the bytes of its tiles.

    Args:
        source: path of the file, its bytes, or a binary file.
        model: name or path of the model that wrote it; None: the embedded one that the file names.
        threads: at most so many are used; None: as many as torch has.
        progress: called with tiles done and tiles in all.

    Returns:
        One map for each level, top first, or for each colour: `.bits` in bits, `(rows, columns)`,
        and `.cell`, the rows and columns of pixels that a place stands for; `.per_pixel(height,
        width)` spreads them.

    Raises:
        CorruptFileError: the file is damaged.
        UnsupportedFileError: it needs another model or a newer laconic, or is no picture; or its
            model is a lossless one with latents.

    Example:
        `laconic.bits_map("photo.lac")[1].bits.sum()`
    """
    from laconic.codecs.image.bits import bits_map as find_bits
    from laconic.codecs.image.decoder import Runtime
    from laconic.codecs.image.file import ImageFile
    from laconic.codecs.lossless.bits import bits_map as find_exact_bits
    from laconic.codecs.lossless.file import LosslessFile

    check_counts(threads=threads)
    file, how = open_file(to_bytes("source", source)), decoding(model, threads)
    file.expect(Content.PICTURE)
    if isinstance(file, LosslessFile):
        named = file.header.model
        ladder = None if named is None else how.model(named).model.exact_ladder()
        return find_exact_bits(file, ladder, how.threads, progress or silent)
    assert isinstance(file, ImageFile)
    runtime = Runtime.of(how.model(file.header.model), how.dtype, how.threads)
    return find_bits(file, runtime, progress or silent)


def archive(
    inputs: "PathLike | Mapping[str, Picture] | Iterable[Picture]",
    *,
    effort: int | None = None,
    strip: bool = False,
    skip_bad: bool = False,
    model: PathLike | None = None,
    threads: int | None = None,
    progress: Progress | None = None,
) -> bytes:
    """Compress many pictures losslessly into the bytes of one .lac file.

    Pictures of one size and kind follow each other, whatever order they are given in.

    Args:
        inputs: a folder, whose pictures are named by their paths in it; or pictures by name; or
            pictures alone: paths are named as they are, all else 00000.png, 00001.png, ...; each
            picture as `compress` takes it.
        effort: 0 (fastest) to 9 (smallest), 5 if it is not given.
        strip: leave out EXIF and XMP data and dots per inch, which are kept otherwise.
        skip_bad: leave out pictures that cannot be read or kept exactly, each with a warning.
        model: name of an embedded model, or path of one; None: the one embedded for this.
        threads: at most so many are used; None: as many as torch has.
        progress: called with tiles done and tiles in all.

    Raises:
        InputError: pictures cannot be read or kept exactly, all of which are named; or there are
            none.

    Example:
        `data = laconic.archive("pictures/")`
    """
    from laconic.data.exact_images import list_sources

    check_counts(threads=threads)
    sources = list_sources(to_pictures(inputs))
    codec = lossless_codec(model, threads, progress, effort)
    with limited(threads):
        return codec.archive(sources, strip, skip_bad)


def unarchive(
    source: Source,
    *,
    partial: bool = False,
    max_pixels: int | None = None,
    model: PathLike | None = None,
    threads: int | None = None,
    progress: Progress | None = None,
) -> Iterator[tuple[str, Image.Image | DeepImage]]:
    """Decode the pictures of an archive one by one, each with its name, as `decompress` does.

    Args:
        source: path of the file, its bytes, or a binary file.
        partial: of a truncated file, decode the pictures before the cut; a `CorruptFileError` that
            says how many are lost is raised after them, not before.
        max_pixels: an archive with a larger picture is refused; None: 2^28, the most of the format.
        model: name or path of the model that wrote it; None: the embedded one that the file names.
        threads: at most so many are used; None: as many as torch has.
        progress: called with tiles done and tiles in all.

    Raises:
        CorruptFileError: the file is damaged.
        UnsupportedFileError: it needs another model or a newer laconic, or is no archive.

    Example:
        `for name, image in laconic.unarchive("set.lac"): image.save(name)`
    """
    check_counts(threads=threads, max_pixels=max_pixels)
    file = open_file(to_bytes("source", source), partial)
    file.expect(Content.ARCHIVE)
    decoded = file.decode(decoding(model, threads, progress, max_pixels=max_pixels))
    return take_limited(threads, decoded)


def compress_map(
    source: PathLike,
    *,
    variance: PathLike | None = None,
    half_maps: tuple[PathLike, PathLike] | None = None,
    quality: float = 50,
    progress: Progress | None = None,
) -> bytes:
    """Compress a map of densities into the bytes of a .lac file, as finely as it is known.

    A shell of Fourier coefficients gets at most as much noise as the error that it has, and no more
    than takes its correlation with the truth down by 0.01 (at quality 50). The error is that of the
    posterior, or it is found from half maps.

    Args:
        source: path of an MRC file; a cube.
        variance: path of the variances that `laconic reconstruct --variance` wrote with the map.
        half_maps: instead: paths of the maps of two halves of the images.
        quality: 1 (smallest) to 100 (best).
        progress: called with the parts done and the parts in all.

    Raises:
        InputError: a file is missing or damaged, boxes differ, or nothing says how well the map is
            known.

    Example:
        `data = laconic.compress_map("map.mrc", variance="variance.mrc")`
    """
    from laconic.codecs.volume import codec, noise
    from laconic.data.microscopy.maps import read_map_file

    check_numbers(quality=quality)
    if (variance is None) == (half_maps is None):
        raise InputError(
            "a map alone does not say how well it is known: give either the variance that "
            "`laconic reconstruct --variance` writes, or two half maps"
        )
    if half_maps is not None and len(half_maps) != 2:
        raise InputError(f"half_maps has {len(half_maps)} paths, give the two half maps")
    given = read_map_file(to_path("source", source))
    others = [to_path("half_maps", path) for path in half_maps or ()]
    others = [to_path("variance", variance)] if variance is not None else others
    known = [read_map_file(path).density for path in others]
    share = (
        noise.share_from_halves(*known)
        if half_maps is not None
        else noise.share_from_variance(given.density, *known)
    )
    return codec.encode(given, share, quality, progress or silent)


def decompress_map(source: Source, *, progress: Progress | None = None) -> "MapFile":
    """Decode a .lac file of a map.

    Args:
        source: path of the file, its bytes, or a binary file.
        progress: called with the parts done and the parts in all.

    Returns:
        The map: its density (size, size, size), float32, axes (z, y, x); its pixel size; and the
        MRC file as bytes.

    Raises:
        CorruptFileError: the file is damaged.
        UnsupportedFileError: it holds no map, or is newer than this laconic.

    Example:
        `Path("map.mrc").write_bytes(laconic.decompress_map("map.lac").to_bytes())`
    """
    file = open_file(to_bytes("source", source))
    file.expect(Content.MAP)
    found: MapFile = next(item for _, item in file.decode(Decoding(progress=progress or silent)))
    return found


def shrink(
    weights: "Source | Mapping[str, Tensor] | Module",
    *,
    tolerance: "float | Mapping[str, float] | None" = None,
    bits_per_weight: float | None = None,
    lossless: bool = False,
    codebook: int | None = None,
    step_scale: float | None = None,
    distribution: bool = False,
    progress: Progress | None = None,
) -> bytes:
    """Compress the weights of a network into the bytes of a .lac file; no data, no training.

    Large tensors of floats are quantised, each with a step of its own; small ones, vectors and
    integers are kept bit for bit. A network that `laconic.weights.convert` made probabilistic is
    stored as precisely as its posteriors require.

    Args:
        weights: path of a safetensors file, an index of shards or a folder of them; the bytes of a
            file, or a binary file; tensors by name (a `state_dict`); or a network.
        tolerance: relative error ||w - w'|| / ||w|| that a tensor may have, 0.01 if nothing is
            given; or by pattern of names, the last that fits: `{"*": 0.05, "head.*": 0.005}`.
        bits_per_weight: instead: bits per number of the whole file, not exceeded.
        lossless: instead: keep every bit.
        codebook: instead: values of every large tensor, 1 to 255, beside the exact zero. K-means
            finds them; each number takes the nearest.
        step_scale: for a converted network alone: factor on the steps of its posteriors, 1 if
            nothing is given.
        distribution: for a converted network alone: keep its distribution, not just one set of
            weights, so that the network of `expand` predicts with draws as this one does.
        progress: called with tensors done and tensors in all.

    Raises:
        InputError: a file cannot be read or is missing, a tensor has NaN or infinite values (and
            others than 0), or the request is impossible.

    Example:
        `data = laconic.shrink(net, tolerance=0.02)`
    """
    from torch.nn import Module

    from laconic.codecs.network import codec as network
    from laconic.codecs.network import posterior
    from laconic.data.weights.safetensors_file import BytesInMemory
    from laconic.data.weights.tensors import open_weights
    from laconic.threads import using

    check_numbers(bits_per_weight=bits_per_weight, step_scale=step_scale)
    check_counts(codebook=codebook)
    requests = lossless + sum(one is not None for one in (tolerance, bits_per_weight, codebook))
    if requests + (step_scale is not None) > 1:
        raise InputError("give one of tolerance, bits_per_weight, lossless, codebook, step_scale")
    say: Progress = progress or silent
    if distribution:
        return _shrink_distribution(weights, bool(requests), step_scale, say)
    if isinstance(weights, Module) and posterior.is_converted(weights) and not requests:
        scale = 1.0 if step_scale is None else step_scale
        with using():
            return posterior.shrink_posterior(weights, scale, {}, say)
    if step_scale is not None:
        raise InputError("step_scale is for networks that laconic.weights.convert has converted")
    source: network.Source
    notes: dict[str, str] = {}
    if isinstance(weights, Module):
        source = network.named(posterior.stored_tensors(weights))
    elif isinstance(weights, Mapping):
        source = network.named(weights)
    elif is_path(weights):
        source, notes = open_weights(to_path("weights", weights))
    else:
        source, notes = open_weights(BytesInMemory(to_bytes("weights", weights)))
    if tolerance is None:
        tolerance = 0.0 if lossless or codebook else 0.01
    with using():
        if bits_per_weight is not None:
            return network.shrink_to(source, notes, bits_per_weight, say)
        return network.shrink(source, notes, tolerance, say, values=codebook or 0)


def _shrink_distribution(
    weights: object, other_requests: bool, step_scale: float | None, progress: Progress
) -> bytes:
    """`shrink` with the distribution of a converted network."""
    from torch.nn import Module

    from laconic.codecs.network.distribution import shrink_distribution
    from laconic.codecs.network.posterior import is_converted
    from laconic.threads import using

    if other_requests or not (isinstance(weights, Module) and is_converted(weights)):
        raise InputError(
            "distribution is for networks that laconic.weights.convert has converted, and goes "
            "with step_scale alone"
        )
    with using():
        return shrink_distribution(weights, 1.0 if step_scale is None else step_scale, progress)


def expand(
    source: Source, into: "Module | None" = None, *, strict: bool = True
) -> "dict[str, Tensor]":
    """The tensors of a .lac file of weights, by name.

    Args:
        source: path of the file, its bytes, or a binary file.
        into: a network that takes them for its own. Where the file's network was trained by "rq" to
            round a layer's inputs, and this one does not, it will from now on. Where the file holds
            a distribution, the network is converted, and `laconic.predict` draws from it.
        strict: False: load what both have, and warn (`LeftOut`) of the rest.

    Raises:
        CorruptFileError: the file is damaged.
        UnsupportedFileError: it holds no weights, or is newer than this laconic.
        InputError: `into` has other tensors than the file; it is left as it was.

    Example:
        `laconic.expand("net.lac", into=net)`
    """
    from torch.nn import Module

    from laconic.codecs.network.distribution import expand_distribution, holds_distribution
    from laconic.codecs.network.file import NetworkFile
    from laconic.codecs.network.loading import expand_into
    from laconic.threads import using

    if not (into is None or isinstance(into, Module)):
        raise InputError(f"into is of type {type(into).__name__}: give a network, a torch module")
    if into is None and not strict:
        raise InputError("strict is for a network: give one with into, or leave strict out")
    with using():
        file = NetworkFile.read(to_bytes("source", source))
        if into is not None and holds_distribution(file):
            expand_distribution(file, into)
            return into.state_dict()
        if into is not None:
            return expand_into(file, into, strict)
        return dict(file.decode(Decoding()))


def predict(
    net: "Module",
    x: "Tensor",
    samples: int = 100,
    *,
    noise: "float | Tensor | str | None" = None,
    dropout: bool = False,
    batch: int = 100,
    seed: int | None = None,
    progress: Progress | None = None,
) -> "Prediction | RegressionPrediction":
    """Predict with draws from the posterior of a network's weights; without gradients.

    Args:
        net: a network that `laconic.weights.convert` converted, or any other: that is a posterior
            of one draw. A module with a method `predict`, such as an ensemble, is called with each
            batch.
        x: inputs, `(count, ...)`, on the network's device.
        samples: number of draws.
        noise: None for a classifier, whose outputs are logits. For a regression the standard
            deviation of the values: a number, a tensor `(outputs,)`, or "outputs" if the network's
            outputs are the means and, in their second half, the logarithms of the variances.
        dropout: whether the network's own dropout modules draw, too (MC-dropout).
        batch: examples at a time.
        seed: of the draws; None: torch's own generator continues.
        progress: called with parts done and parts in all.

    Returns:
        For a classifier `.probs` `(samples, count, classes)`, `.mean`, `.entropy`,
        `.mutual_information`, `.aleatoric`, `.epistemic`; for a regression `.means`, `.mean`,
        `.aleatoric`, `.epistemic`, `.interval(level)`.

    Raises:
        InputError: a number is below 1, inputs or outputs have NaN or infinite values, or the
            outputs do not fit.

    Example:
        `laconic.predict(net, x, samples=100).entropy`
    """
    from laconic.weights.prediction import predict as run

    say = progress or silent
    return run(net, x, samples, noise=noise, dropout=dropout, batch=batch, seed=seed, progress=say)


class LaconicFile:
    """A .lac file of any kind: its description at once, its contents on first use.

    Attributes:
        data: the file's bytes.
        info: sizes by section, model, coder and more, by kind of file; nothing is decoded for it.
    """

    def __init__(self, data: bytes) -> None:
        self.data = data
        self._file = open_file(data)
        self.info: FileInfo = self._file.describe()

    @cached_property
    def image(self) -> Image.Image | DeepImage:
        """The picture of a file of one picture, decoded on first use, as `decompress` gives it.

        Raises:
            UnsupportedFileError: the file is an archive or a network.
        """
        self._file.expect(Content.PICTURE)
        return _only_picture(self._file, decoding())

    def images(self) -> Iterator[tuple[str, Image.Image | DeepImage]]:
        """Decode the pictures of an archive one by one, each with its name.

        Raises:
            UnsupportedFileError: the file is no archive.
        """
        self._file.expect(Content.ARCHIVE)
        return self._file.decode(decoding())

    @cached_property
    def tensors(self) -> "dict[str, Tensor]":
        """The tensors of a network by name, decoded on first use.

        Raises:
            UnsupportedFileError: the file holds pictures.
        """
        from laconic.threads import using

        self._file.expect(Content.NETWORK)
        with using():
            return dict(self._file.decode(decoding()))

    @cached_property
    def map(self) -> "MapFile":
        """The map of a file of one, decoded on first use.

        Raises:
            UnsupportedFileError: the file holds something else.
        """
        return decompress_map(self.data)

    def __repr__(self) -> str:
        info, shown = self.info, self._file.words
        if info.width is not None:
            shown = f"{info.width}x{info.height} {info.mode}"
        return f"<LaconicFile {shown}, {len(self.data)} bytes>"


LaconicImage = LaconicFile
"""The name of `LaconicFile` when it was for pictures alone."""


def open(source: Source) -> LaconicFile:
    """Open a .lac file of any kind, given by path or as bytes.

    Args:
        source: path of the file, its bytes, or a binary file.

    Raises:
        FileError: the file is damaged or of a kind that this laconic cannot read.

    Example:
        `laconic.open("photo.lac").info.file_bits`
    """
    return LaconicFile(to_bytes("source", source))


def _only_picture(file: Codec, how: Decoding) -> Image.Image | DeepImage:
    """The picture of a file of one picture."""
    image: Image.Image | DeepImage = next(image for _, image in file.decode(how))
    return image
