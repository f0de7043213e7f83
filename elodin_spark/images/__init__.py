"""Files to pixels, WCS and masks."""
