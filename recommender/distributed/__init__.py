"""A night whose people lie in parts, on as many machines as there are: the same functions, asked of each part.

- parts: what a distributed collection must be able to do, and one that is a list in this process
- reading: the rows of some people's tables in, their `Records` out, as if all had been read at once
- night: parts of `Records` in, a fitted model out
- lists: everybody's lists, and the version written from them
- spark: parts that are Apache Spark's; the only module that imports pyspark
"""
