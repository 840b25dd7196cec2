"""Pictures of 16 bits a sample with several channels, for which Pillow has no mode."""

from laconic.deep_image.image import DeepImage

__all__ = ["DeepImage"]
