"""The engine: from a hospital's records to a published list of suggested treatments. Knows no Flask and no job."""

__version__ = "0.1.0"
