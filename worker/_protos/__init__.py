"""Generated from ``protos/``: change the sources there and run ``make protos``."""
