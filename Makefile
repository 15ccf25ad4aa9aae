# Every target sets up its own environment in .venv; Python 3.11 or later and make are all it needs.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
STAMP := $(VENV)/.installed
OUT ?= runs/demo

PEERS := $(VENV)/.peers
.PHONY: demo test lint bench gpu-dry-run zoo faults soak notebooks reference clean

# Robust overfitting and its cure on the digits: about a minute and a half after installation.
demo: $(STAMP)
	$(BIN)/overfit-lab demo --out $(OUT)

# Style, types, and every test, the notebooks' among them.
test: lint
	OMP_NUM_THREADS=1 $(BIN)/pytest -n 2 --dist worksteal

lint: $(STAMP)
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

# Every probe on every network of the zoo and on 500 drawn at random, and whether docs/monitor.md says so: some 10 minutes.
zoo: $(STAMP)
	OMP_NUM_THREADS=1 OVERFIT_LAB_ZOO=whole $(BIN)/pytest -n 2 --dist worksteal tests/zoo
	$(BIN)/python docs/draw_zoo.py --check

# Kills, torn writes, power cuts and failing operations at every command, damaged folders and drawn configurations, and the counts
# of docs/reliability.md: two hours.
MOST ?= 60
FUZZ := OMP_NUM_THREADS=1 $(BIN)/python tests/faults/fuzz.py
faults: $(STAMP)
	OMP_NUM_THREADS=1 $(BIN)/python tests/faults/run_all.py --jobs 2 --most $(MOST) --out docs/faults.json
	OMP_NUM_THREADS=1 OVERFIT_LAB_FAULTS=whole $(BIN)/pytest -q tests/faults/test_soak.py tests/processes/test_server.py tests/regressions/test_null_values.py
	$(FUZZ) folders 1000 --seed 1 --json docs/fuzz.json --specs runs/faults
	for seed in 1 2; do \
		$(FUZZ) configurations 500 --seed $$seed --json docs/fuzz.json --specs runs/faults || exit 1; \
	done
	$(FUZZ) page

# Everything over and over in one process for 90 minutes, whether memory, file handles and threads stay flat: docs/soak.*
MINUTES ?= 90
soak: $(STAMP)
	OMP_NUM_THREADS=1 $(BIN)/python tests/faults/soak.py --minutes $(MINUTES) --out docs

# Speed and memory beside other projects, on one thread: under a quarter of an hour. NAMES="iiw memory" for some alone.
bench: $(STAMP) $(PEERS)
	$(BIN)/python benchmarks/run.py $(NAMES)

# What benchmarks/gpu.py does on a GPU, in miniature on the CPU: every recipe, probe and way to compute; some three minutes.
gpu-dry-run: $(STAMP)
	OMP_NUM_THREADS=1 OVERFIT_LAB_GPU_DRY_RUN=1 $(BIN)/pytest -q tests/test_gpu_benchmark.py

# Execute the notebooks and save their outputs in them.
notebooks: $(STAMP)
	$(BIN)/python notebooks/execute.py

# Train the committed reference runs again, those that are not there; PARTS=digits- for those on digits alone.
reference: $(STAMP)
	$(BIN)/python runs/reference/make.py $(PARTS)

$(STAMP): pyproject.toml tests/peers.txt
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || \
		{ echo "overfit-lab needs Python 3.11 or later; name one by make PYTHON=python3.12" >&2; exit 2; }
	$(PYTHON) -m venv $(VENV)
	$(BIN)/pip install --quiet --disable-pip-version-check --editable '.[dev]'
	$(BIN)/pip install --quiet --disable-pip-version-check --no-deps --requirement tests/peers.txt
	@touch $@

$(PEERS): $(STAMP) benchmarks/peers.txt
	$(BIN)/pip install --quiet --disable-pip-version-check --requirement benchmarks/peers.txt
	@touch $@

clean:
	rm -rf $(VENV) runs/demo .pytest_cache .mypy_cache .ruff_cache .hypothesis
