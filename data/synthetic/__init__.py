"""In: a folder, a number of patients and a seed; out: a believable, wholly synthetic hospital's export.

`write_hospital` is the one entry, `is_sample` knows its output again; the files have Synthea's CSV layout. What is
simulated, where numbers come from, how access to treatment differs between groups (by design, a little) and which dirt
is mixed in: see README.md beside it.
"""

from data.synthetic.writer import is_sample, write_hospital

__all__ = ["is_sample", "write_hospital"]
