# The server and the nightly run in one image. Nothing is written but /data (runs, keys, audit log) and /tmp.
#   docker build -t rxrec .    docker run --read-only --tmpfs /tmp -v rxrec:/data rxrec ...
FROM python:3.12-slim-bookworm AS build
WORKDIR /src
COPY docs/deploy/requirements.txt setup.cfg pyproject.toml README.md LICENSE ./
# hashes are checked, and nothing is built from source that has a wheel
RUN python -m venv /venv && /venv/bin/pip install --no-cache-dir --no-deps --require-hashes -r requirements.txt
COPY recommender recommender
COPY api api
COPY jobs jobs
COPY data data
# setuptools is in requirements.txt, so that the build asks for nothing that has no hash
RUN /venv/bin/pip install --no-cache-dir --no-deps --no-build-isolation .

FROM python:3.12-slim-bookworm
RUN useradd --uid 10001 --no-create-home --shell /usr/sbin/nologin rxrec && install -d -m 0700 -o rxrec -g rxrec /data
COPY --from=build /venv /venv
ENV PATH=/venv/bin:$PATH PYTHONDONTWRITEBYTECODE=1 PYTHONUNBUFFERED=1 NUMBA_CACHE_DIR=/tmp/numba \
    RXREC_WORKDIR=/data RXREC_AUTH=on
USER 10001:10001
WORKDIR /data
VOLUME /data
EXPOSE 8000
HEALTHCHECK --interval=30s --timeout=5s --start-period=60s \
    CMD ["python", "-c", "import urllib.request as u; u.urlopen('http://127.0.0.1:8000/health/live', timeout=4)"]
ENTRYPOINT ["rxrec"]
CMD ["serve", "--host", "0.0.0.0", "--port", "8000"]
