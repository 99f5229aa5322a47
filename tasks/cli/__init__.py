"""The `caskeeper` command: one file per group of commands, imported when one of them is used."""

import gc

# Before anything is loaded: what stays are tens of thousands of objects, and to look through them for cycles
# after every 700 new ones takes a tenth of a short command's time.
gc.set_threshold(20_000, 20, 20)
