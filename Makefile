# make demo and make test start from Python 3.11+, git and make alone; both work in .venv.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
PIP := $(BIN)/python -m pip install --quiet --disable-pip-version-check -c constraints.txt
# What OpenCV's wheel with windows needs from the system; prints what is missing.
MISSING := $(shell $(PYTHON) runtime/mmpnet/system/window_libraries.py)
# The GPU runtime only where an NVIDIA driver answers.
RUNTIME := $(if $(MISSING),headless,$(shell nvidia-smi -L >/dev/null 2>&1 && echo gpu || echo cpu))
CPU_RUNTIME := $(if $(MISSING),headless,cpu)
SAY_RUNTIME = @echo "installing mmpnet[$(1)]$(if $(MISSING), without windows: this machine lacks $(MISSING))"
# The environment of `make test` can run the demo too; the demo's alone is smaller and has no torch.
DEMO_READY := $(if $(wildcard $(VENV)/.test),$(VENV)/.test,$(VENV)/.demo)

# How many processes the tests run in: a number, or auto, one for each core.
WORKERS ?= auto
PYTEST := $(BIN)/python -m pytest -n $(WORKERS) --dist worksteal

.PHONY: demo test check fuzz lint cost minimal container arm64 audit oldest opencv docs reference release clean

demo: $(DEMO_READY)
	$(BIN)/mmp-run docs/images/astronaut.jpg --save out/astronaut.jpg --no-show
	@echo "next: . $(VENV)/bin/activate && mmp-run docs/media/door.mp4 --save out/door.mp4"
	@echo "or, with a camera: mmp-run 0"

# Every test; makes the environment where there is none.
test: $(VENV)/.test
	$(MAKE) lint
	$(PYTEST)

# What to run before each commit: all but the slow tests.
check: lint
	$(PYTEST) -m "not slow"

# Damages many more files than the tests do; FUZZ is how many of each kind.
FUZZ ?= 3000
fuzz:
	MMPNET_FUZZ=$(FUZZ) $(PYTEST) tests/fuzz --timeout 0

lint:
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports
	$(BIN)/codespell

$(VENV)/.demo: pyproject.toml constraints.txt
	$(call SAY_RUNTIME,$(RUNTIME))
	$(PYTHON) -m venv $(VENV)
	$(PIP) -e '.[$(RUNTIME)]'
	touch $@

# What the runtime costs to install and to start; more than allowed is an error.
cost: $(DEMO_READY)
	$(BIN)/python benchmarks/install_size.py
	$(BIN)/python benchmarks/startup.py --most-s 1

# Cleared first: onnxruntime must not stand beside the demo's onnxruntime-gpu.
$(VENV)/.test: pyproject.toml constraints.txt
	$(call SAY_RUNTIME,$(CPU_RUNTIME))
	$(PYTHON) -m venv --clear $(VENV)
	$(PIP) -e '.[$(CPU_RUNTIME),train,dev]'
	touch $@

# The demo on a Debian without a single library for windows; needs root and mmdebstrap.
minimal:
	tests/minimal/run.sh

# The container image, built without a daemon, on a read-only root; needs root, buildah and mmdebstrap.
container:
	tests/container/run.sh

# The self-tests, an image and the doctor on an emulated Raspberry Pi 4 and 5; needs root, mmdebstrap and QEMU.
arm64:
	PYTHON=$(abspath $(BIN))/python tests/arm64/run.sh

# What the runtime does with a model, an image and a video, in an environment.
define TRY_RUNTIME
	$(1)/bin/mmp-run --self-test
	$(1)/bin/mmp-run person-320-int8 --self-test
	$(1)/bin/mmp-run person-192x320-int8 --self-test
	$(1)/bin/mmp-run person-224-int8 --self-test
	$(1)/bin/mmp-run --source docs/images/astronaut.jpg --save out/tried.jpg --no-show
	$(1)/bin/mmp-doctor --no-cameras
	$(1)/bin/python -c "import cv2, numpy; \
		video = cv2.VideoWriter('out/tried.avi', cv2.VideoWriter.fourcc(*'MJPG'), 10, (64, 48)); \
		[video.write(numpy.full((48, 64, 3), 20 * shade, numpy.uint8)) for shade in range(5)]; video.release()"
	$(1)/bin/mmp-run person-224-int8 --source out/tried.avi --save out/tried.mkv --json out/tried.ndjson --no-show
endef

# The shipped models on the oldest libraries that have wheels for Python 3.11, and on an ONNX Runtime that is older
# still, for which npm and Node are needed.
oldest: $(VENV)-oldest/.done
	$(call TRY_RUNTIME,$(VENV)-oldest)
	$(VENV)-oldest/bin/python benchmarks/paced.py --seconds 5 --repeats 1
	$(VENV)-oldest/bin/python tests/oldest/self_test.py $(VENV)-oldest/node_modules

$(VENV)-oldest/.done: pyproject.toml constraints-oldest.txt
	$(PYTHON) -m venv --clear $(VENV)-oldest
	$(VENV)-oldest/bin/python -m pip install --quiet --disable-pip-version-check -c constraints-oldest.txt -e '.[cpu]'
	npm install --silent --no-audit --no-fund --no-save --ignore-scripts --prefix $(VENV)-oldest onnxruntime-node@1.10.0
	touch $@

# The shipped models, an image and a video on another OpenCV, with the newest numpy that it allows.
OPENCV ?= 4.14.0.94
opencv:
	$(PYTHON) -m venv --clear $(VENV)-opencv
	grep --extended-regexp --invert-match '^(numpy|opencv-)' constraints.txt > $(VENV)-opencv/constraints.txt
	$(VENV)-opencv/bin/python -m pip install --quiet --disable-pip-version-check -c $(VENV)-opencv/constraints.txt \
		-e '.[$(CPU_RUNTIME)]' opencv-python$(if $(MISSING),-headless)==$(OPENCV)
	$(call TRY_RUNTIME,$(VENV)-opencv)

# The documentation site, into out/site; a broken link or an old page of the reference is an error.
docs: $(VENV)/.docs
	PYTHONPATH=docs/site $(BIN)/python docs/site/make_reference.py --check
	NO_MKDOCS_2_WARNING=1 $(BIN)/mkdocs build --strict
	MMPNET_SITE=out/site $(BIN)/python -m pytest tests/site

# The pages and the example in the README that come from the code.
reference: $(VENV)/.docs
	PYTHONPATH=docs/site $(BIN)/python docs/site/make_reference.py

$(VENV)/.docs: $(VENV)/.test
	$(PIP) -e '.[$(CPU_RUNTIME),docs]'
	touch $@

# The files of a release, into dist, checked.
release: $(VENV)/.test
	rm -rf dist
	$(BIN)/python -m build
	$(BIN)/twine check --strict dist/*
	$(BIN)/check-wheel-contents dist/*.whl

# Known security holes of the versions in constraints.txt; asks the index for them.
audit:
	$(PYTHON) -m venv $(VENV)-audit
	$(VENV)-audit/bin/python -m pip install --quiet --disable-pip-version-check pip-audit
	$(VENV)-audit/bin/pip-audit --requirement constraints.txt --no-deps --disable-pip

clean:
	rm -rf $(VENV) $(VENV)-oldest $(VENV)-opencv $(VENV)-audit out dist
