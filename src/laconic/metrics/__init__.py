"""Pictures and curves to numbers: PSNR, MS-SSIM, BD-rate."""

from laconic.metrics.curves import bd_quality, bd_rate, pareto, quality_at
from laconic.metrics.images import ms_ssim, ms_ssim_db, psnr

__all__ = ["bd_quality", "bd_rate", "ms_ssim", "ms_ssim_db", "pareto", "psnr", "quality_at"]
