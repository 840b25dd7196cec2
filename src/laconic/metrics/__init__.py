"""Pictures and curves to numbers: PSNR, MS-SSIM, BD-rate."""

from laconic.metrics.images import ms_ssim, ms_ssim_db, psnr

__all__ = ["ms_ssim", "ms_ssim_db", "psnr"]
