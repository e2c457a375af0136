"""Parts of a night that are Apache Spark's: the only package that imports pyspark.

- cluster: the address of a cluster in, `Parts` on its executors out
- tables: an export where Spark can read it in, everybody's rows in parts out
- als: the factor model that is found where the parts are
"""
